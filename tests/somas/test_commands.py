"""``/somas …`` as it is typed: grammar, names, settings, and the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bot.commands.existing import check_existing
from bot.commands.grammar import Invocation, parse
from bot.commands.registry import Answer, Reply, StartRun
from bot.errors import Unavailable, UserError
from bot.handler import Services
from bot.messages import Buttons, plain_text
from handlers.somas import Somas, SomasSettings, product
from tests.somas.conftest import NOW, asking, connected, run_blocking


async def understood(handler: Somas, text: str) -> Invocation:
    found = parse(text, {"somas": product.commands})
    assert isinstance(found, Invocation)
    return await check_existing(found, handler.inventory)


async def typed(root: Path, text: str) -> Reply:
    handler = connected(root)
    return await (await understood(handler, text)).call(asking(handler))


def said(reply: Reply) -> str:
    assert isinstance(reply, Answer)
    return plain_text(reply.message.blocks)


async def test_status_of_all_and_of_one(root: Path) -> None:
    assert said(await typed(root, "/somas status")).startswith("SOMAS: 3 critical, 3 warning, 10 ok\n")
    assert said(await typed(root, "/somas status 42")).startswith("project-42: failed at verify\n")
    assert said(await typed(root, "/somas failed")).startswith("5 of 16 projects failed, 1 cannot be read\n")


async def test_a_project_that_failed_offers_its_restart_and_a_healthy_one_does_not(root: Path) -> None:
    async def offered(name: str) -> list[str]:
        reply = await typed(root, f"/somas status {name}")
        assert isinstance(reply, Answer)
        return [b.command for each in reply.message.blocks if isinstance(each, Buttons) for b in each.items]

    assert await offered("project-42") == [
        "/somas restart project-42 --from verify",
        "/somas restart project-42 --from verify --dry-run",
    ]
    assert await offered("project-19") == [
        "/somas restart project-19 --from verify",
        "/somas restart project-19 --from verify --dry-run",
    ]
    assert await offered("project-81") == [
        "/somas reconstruct project-81 --dry-run",
        "/somas restart project-81 --full --dry-run",
    ]
    assert await offered("project-12") == await offered("project-64") == []


@pytest.mark.parametrize(
    ("text", "stage", "dry_run"),
    [
        ("/somas restart project-42", "verify", False),
        ("/somas restart 42 --from pulse", "verify", False),
        ("/somas restart project-42 —from plan —dry-run", "plan", True),
        ("/somas restart project-42 --checkpoint", "verify", False),
        ('/somas restart project-42 --full --reason "it is corrupt"', "intake", False),
    ],
)
async def test_restart_as_people_type_it(root: Path, text: str, stage: str, dry_run: bool) -> None:
    handler = connected(root)
    invocation = await understood(handler, text)
    started = await invocation.call(asking(handler))
    assert isinstance(started, StartRun)
    assert (started.target.name, started.inputs["stage"]) == ("project-42", stage)
    assert invocation.standing.dry_run is dry_run


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("/somas restart ../../etc/passwd", "cannot be a project"),
        ("/somas restart project-٤٢", "cannot be a project"),
        ("/somas restart project-4", "There is no project"),
        ("/somas status project-42.backup.20261115", "cannot be a project"),
        ("/somas restart project-42 --from validation", "is called verify"),
        ("/somas restart project-64", "is finished"),
        ("/somas restart project-81", "Repair or restore state.json"),
        ("/somas restart project-7 --checkpoint", "has no successful checkpoint yet"),
    ],
)
async def test_bad_requests_start_no_run(root: Path, text: str, answer: str) -> None:
    with pytest.raises(UserError) as refused:
        await typed(root, text)
    assert answer in refused.value.message


async def test_the_inventory(root: Path) -> None:
    handler = connected(root)
    assert len(await handler.inventory("project")) == 16
    assert (await handler.inventory("stage"))[0] == "intake"
    assert await handler.inventory("child") == []


async def test_a_disk_that_went_away_is_told_by_every_command_and_by_problems(root: Path) -> None:
    handler = connected(root)
    assert await handler.problems() == []
    root.rename(root.with_name("unmounted"))
    assert "is not there (root in the section [somas])" in (await handler.problems())[0]
    with pytest.raises(Unavailable, match=r"\.somas/projects cannot be read"):
        await handler.inventory("project")
    with pytest.raises(Unavailable):
        await product.commands.commands["status"].function(asking(handler))


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (lambda path: path / "nowhere", "there is no "),
        (lambda path: path / "somas" / ".somas" / "config.yml", "is not a folder"),
        (lambda path: path / "somas" / ".somas", "is .somas itself; give the folder that holds it"),
        (lambda path: path, "holds no .somas/projects"),
    ],
)
def test_a_wrong_root_names_the_key_and_what_belongs_there(root: Path, make: Any, answer: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        SomasSettings(root=make(root.parent))
    (error,) = wrong.value.errors()
    assert error["loc"] == ("root",)
    assert answer in error["msg"]


async def test_the_product_connects(root: Path) -> None:
    handler = await product.connect(
        SomasSettings(root=root), Services(connected(root, NOW).services.clock, run_blocking)
    )
    assert isinstance(handler, Somas)
    await handler.close()
    assert product.runbooks is not None
    assert {"restart", "full-restart"} <= {file.stem for file in product.runbooks.glob("*.md")}
