"""``opsbot run --config opsbot.toml``, ``opsbot demo``, ``doctor``, ``alive``, ``runbook check``, ``commands``."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ipaddress
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

from cyclopts import App, Parameter
from cyclopts.validators import Number

from bot import __version__, logs
from bot.errors import SettingsError, UserError

if TYPE_CHECKING:
    from bot.store import Store

app = App(
    name="opsbot",
    help="Runs the on-call runbooks in Slack and on GitHub, checks what they expect and escalates when time runs out.",
    version=__version__,
)
runbook = App(name="runbook", help="Runbook documents.")
app.command(runbook)
audit = App(name="audit", help="The log of who did what, in a chain that shows every change.")
app.command(audit)

Config = Annotated[Path, Parameter(help="The configuration; every key is explained in docs/configuration.md.")]


@app.command
def run(
    *,
    config: Config = Path("opsbot.toml"),
    log: Annotated[Literal["DEBUG", "INFO", "WARNING"], Parameter(help="How much goes to standard error.")] = "INFO",
) -> int:
    """Run the bot until it is told to stop (SIGTERM or Ctrl-C). Runs in progress go on at the next start."""
    from bot.app import Bot, installed_products
    from bot.loop_lag import collect_seldom
    from bot.settings import read

    logs.configure(log)
    # A thread that computes (the database's, a scan) keeps everything else waiting for so long, and an acknowledgement
    # waits for it some four times; Python's own 5 ms are noticed by people.
    sys.setswitchinterval(0.001)

    async def work() -> int:
        products = installed_products()
        bot = Bot(read(config, os.environ, products), products)
        told_to_stop = asyncio.ensure_future(_until_signal())
        starting = asyncio.ensure_future(bot.start())  # on PostgreSQL it may stand by first, for as long as it takes
        await asyncio.wait([told_to_stop, starting], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait([starting])
            return 0
        await starting
        collect_seldom()
        either: list[asyncio.Future[Any]] = [told_to_stop, bot.lost]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if bot.lost.done():
            # At once, without tidying up: whatever this process still does, the bot that leads now may do too.
            print(
                f"opsbot: this bot does not lead any more: {bot.lost.result()}. It stops.", file=sys.stderr, flush=True
            )
            os._exit(1)
        await bot.stop()
        return 0

    return _carefully(work)


@app.command
def demo(
    *,
    folder: Annotated[Path, Parameter(help="Everything the demo writes stands here.")] = Path("demo-data"),
    port: Annotated[
        int,
        Parameter(
            help="Where the page is; another one is taken when it is in use.", validator=Number(gte=0, lte=65535)
        ),
    ] = 8080,
    restart_seconds: Annotated[
        int,
        Parameter(help="How long a restart may take until @scotlaclair is paged.", validator=Number(gte=5, lte=3600)),
    ] = 60,
) -> int:
    """Try it without accounts: a local stand-in for Slack in the browser, a supervised process, SOMAS projects."""
    from bot.demo.world import World

    logs.configure("WARNING")

    async def work() -> int:
        world = World(folder, port, lambda said: print(said, flush=True), restart_seconds=restart_seconds)
        await world.serve()
        return 0

    return _carefully(work)


@app.command
def doctor(*, config: Config = Path("opsbot.toml")) -> int:
    """Check the configuration and everything it points to, and say what is wrong."""
    from bot.app import Bot, installed_products
    from bot.runbooks.library import RunbookLibrary
    from bot.runbooks.lint import check as lint
    from bot.settings import read

    logs.configure("ERROR")

    async def work() -> int:
        products = installed_products()
        settings = read(config, os.environ, products)
        print(f"✓ {config} is complete")
        found = await Bot(settings, products).examine()
        report = lint(RunbookLibrary(products, settings.runbooks.paths), products)
        found.append(("the runbooks", [str(problem) for problem in report.errors]))
        for name, problems in found:
            for problem in problems:
                print(f"✗ {name}: {problem}")
            if not problems:
                print(f"✓ {name}")
        return 1 if any(problems for _, problems in found) else 0

    return _carefully(work)


@app.command
def alive(*, config: Config = Path("opsbot.toml")) -> int:
    """Ask the bot that runs here with this configuration whether it is alive; exit code 1 when it is not."""
    from bot.settings import read_server

    try:
        server = read_server(config, os.environ)
    except SettingsError as error:
        print(f"opsbot: {error}", file=sys.stderr)
        return 2
    host = server.host
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            host = "::1" if ":" in host else "127.0.0.1"
    connection = http.client.HTTPConnection(host, server.port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"opsbot: {host}:{server.port} does not answer: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    if status != http.client.OK:
        print(f"opsbot: {host}:{server.port} answers {status}; that is not the bot", file=sys.stderr)
        return 1
    return 0


@runbook.command
def check(
    *paths: Annotated[Path, Parameter(help="Files or folders of your own, beside the runbooks of the products.")],
    format: Annotated[Literal["text", "github"], Parameter(help="github: annotations for a workflow")] = "text",
) -> int:
    """Show what each row of each runbook means to the bot; exit code 1 when something is wrong."""
    from bot.app import installed_products
    from bot.runbooks.check_report import github, render
    from bot.runbooks.library import RunbookLibrary
    from bot.runbooks.lint import check as lint

    products = installed_products()
    report = lint(RunbookLibrary(products, paths), products)
    if format == "github":
        print(github(report))
    else:
        print(render(report))
    return report.exit_code


@runbook.command
def verify(
    *files: Annotated[Path, Parameter(help="Documents or folders of them; without any: all that the bot knows.")],
    config: Config = Path("opsbot.toml"),
    format: Annotated[Literal["text", "github"], Parameter(help="github: annotations for a workflow")] = "text",
) -> int:
    """Compare runbooks, or any Markdown, with the live systems and tell what has drifted; exit code 1 when it has.

    Nothing is changed: what reads is called, what changes is only previewed.
    """
    from bot.app import Bot, installed_products
    from bot.runbooks.verify_report import github, render
    from bot.settings import read

    logs.configure("ERROR")

    async def work() -> int:
        products = installed_products()
        bot = Bot(read(config, os.environ, products), products)
        verified = await bot.verify(files)
        print((github if format == "github" else render)(verified), end="")
        return 1 if any(one.drifts for one in verified) else 0

    return _carefully(work)


@runbook.command(name="import")
def import_(
    file: Annotated[Path, Parameter(help="The document as you have it: text or Markdown.")],
    *,
    out: Annotated[Path, Parameter(help="Where the documents are written.")] = Path("runbooks"),
    force: Annotated[bool, Parameter(negative="", help="Replace files that are there already.")] = False,
) -> int:
    """Write clean runbooks from a document that lost its marks, or has no tables; every guess is listed."""
    from bot.app import installed_products
    from bot.runbooks import importing
    from bot.runbooks.importing.files import read, save
    from bot.runbooks.library import RunbookLibrary

    products = installed_products()
    try:
        imported = importing.import_bytes(read(file), file.name, products)
        paths = save(imported, out, force=force)
    except UserError as error:
        print(f"opsbot: {error}", file=sys.stderr)
        return 2
    print(importing.report(imported, file.name))
    for path, document in zip(paths, imported.documents, strict=True):
        print(f"wrote {path}: {document.title}, {document.steps} step{'' if document.steps == 1 else 's'}")
    known = RunbookLibrary(products).runbooks
    for document in imported.documents:
        if known.get(document.id.lower()):
            print(f"{document.id} is a runbook of the bot already: give yours another id, or compare the two.")
    print(f"Next: opsbot runbook check {out}" if paths else "Nothing was written.")
    return 0 if paths else 1


@audit.command(name="verify")
def verify_audit(
    *,
    config: Config = Path("opsbot.toml"),
    file: Annotated[Path | None, Parameter(help="An export, instead of the database.")] = None,
    head: Annotated[
        tuple[str, ...],
        Parameter(help="A head that you noted earlier, NUMBER:HASH; any number.", negative=(), show_default=False),
    ] = (),
) -> int:
    """Walk the chain and name the first entry that was changed, removed, put in or moved; exit code 1 when one was."""
    from bot.audit_command import parse_head, verify_database, verify_file

    async def work() -> int:
        known = [parse_head(each) for each in head]
        if file:
            code, said = verify_file(file, known)
        else:
            async with _database(config) as store:
                code, said = await verify_database(store, known)
        print(said)
        return code

    return _carefully(work)


@audit.command
def export(
    *,
    config: Config = Path("opsbot.toml"),
    out: Annotated[Path | None, Parameter(help="The file to write; without it, standard output.")] = None,
    since: Annotated[datetime | None, Parameter(help="The first instant, in UTC.")] = None,
    until: Annotated[datetime | None, Parameter(help="The first instant that is not wanted any more.")] = None,
    run: Annotated[str, Parameter(help="Entries of this run.")] = "",
    actor: Annotated[str, Parameter(help="Entries of this person: slack:U0ALICE, github:alice.")] = "",
) -> int:
    """Write the log as JSON Lines, with what is needed to verify it offline: opsbot audit verify --file."""
    from bot import audit_command
    from bot.clock import SystemClock

    wanted = audit_command.Wanted(
        since.astimezone(UTC) if since and since.tzinfo else since and since.replace(tzinfo=UTC),
        until.astimezone(UTC) if until and until.tzinfo else until and until.replace(tzinfo=UTC),
        run,
        actor,
    )

    async def work() -> int:
        async with _database(config) as store:
            with contextlib.ExitStack() as stack:
                to = stack.enter_context(_file_of_ones_own(out)) if out else sys.stdout
                full = await audit_command.export(store, wanted, to, SystemClock().now())
        if out:
            print(f"wrote {out}: {full} entr{'y' if full == 1 else 'ies'} in full")
        return 0

    return _carefully(work)


def _file_of_ones_own(path: Path) -> TextIO:
    """To be written, and to be read by nobody else: it holds what people have typed. Raises ``UserError``."""
    try:
        return open(path, "w", encoding="utf-8", opener=partial(os.open, mode=0o600))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


@contextlib.asynccontextmanager
async def _database(config: Path) -> AsyncIterator[Store]:
    """The database of this configuration, whether the bot works on it or not."""
    from bot.settings import read_database
    from bot.store import Store

    url = read_database(config, os.environ).url
    if url.startswith("sqlite:///") and not os.access(url.removeprefix("sqlite:///"), os.F_OK):  # opening would make it
        raise UserError(f"There is no database {url.removeprefix('sqlite:///')} yet: the bot makes it when it starts.")
    store = Store(url)
    try:
        yield store
    finally:
        await store.close()


@app.command
def commands(
    *,
    write: Annotated[
        bool, Parameter(negative="", help="Write manifest.yml, docs/commands.md, docs/handlers/.")
    ] = False,
    check: Annotated[bool, Parameter(negative="", help="Exit with 1 when one of these files is stale.")] = False,
) -> int:
    """The commands people can type, and the files that are generated from them."""
    from bot.app import installed_products
    from bot.commands import generated, grammar
    from bot.runbooks.pages import handler_pages
    from bot.runs.commands import runs

    products = installed_products()
    root = Path.cwd()
    if write:
        files = generated.generated(root, products, [runs]) | handler_pages(root, products)
        for name in generated.write_files(root, files):
            print(f"wrote {name}")
        return 0
    if check:
        files = generated.generated(root, products, [runs]) | handler_pages(root, products)
        groups = {"runs": runs, **{product.name: product.commands for product in products}}
        problems = [
            *grammar.defects(groups),
            *(f"{name} is stale: opsbot commands --write" for name in generated.stale_files(root, files)),
        ]
        for problem in problems:
            print(problem, file=sys.stderr)
        return 1 if problems else 0
    print(generated.command_table(products, [runs]))
    return 0


async def _until_signal() -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


def _carefully(work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run it; what the operator has to mend is one message, never a traceback."""
    try:
        return asyncio.run(work())
    except (SettingsError, UserError) as error:
        print(f"opsbot: {error}", file=sys.stderr)
        return 2


def main() -> None:
    """The console script."""
    try:
        result = app()
    except (SettingsError, UserError) as error:
        print(f"opsbot: {error}", file=sys.stderr)
        result = 2
    sys.exit(result if isinstance(result, int) else 0)
