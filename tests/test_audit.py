"""``opsbot audit verify``: what was done to the log, and that it is found; adding, deleting and exporting entries."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from bot import store as tables
from bot.audit import AuditLog
from bot.audit_command import Wanted, export, parse_head, verify_database, verify_file
from bot.chain import GENESIS, Chain, Entry, Head, Linked, digest_of, hash_of, link
from bot.clock import ManualClock
from bot.errors import UserError
from bot.store import Store

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def entry(number: int, **more: Any) -> Entry:
    at = NOON + timedelta(minutes=number)
    return replace(Entry("step.done", at, "slack:U0ALICE", detail={"step": str(number), "seen": "naïve ✓"}), **more)


def chained(count: int) -> list[Linked]:
    return link(Head(0, GENESIS), [entry(number) for number in range(count)])


def found(chain: Sequence[Linked], *, head: Head | None = None, known: Sequence[Head] = ()) -> str:
    walk = Chain(known)
    for each in chain:
        if problem := walk.add(each):
            return problem
    return walk.end(head)


def rewritten(chain: Sequence[Linked], start: int) -> list[Linked]:
    """What somebody does who knows how the chain is made: everything behind ``start`` is computed anew."""
    new = list(chain[:start])
    for old in chain[start:]:
        previous = new[-1].hash if new else GENESIS
        number = len(new) + 1
        body = json.dumps({**json.loads(old.body or ""), "number": number}, sort_keys=True, separators=(",", ":"))
        new.append(Linked(number, previous, hash_of(previous, number, digest_of(body)), body))
    return new


# -- the chain


def test_a_chain_that_nobody_touched() -> None:
    chain = chained(5)
    assert found(chain, head=Head(5, chain[-1].hash)) == ""
    assert found([], head=Head(0, GENESIS)) == ""


@given(st.integers(2, 8), st.data())
def test_whatever_is_done_to_one_entry_is_found_at_that_entry(length: int, data: st.DataObject) -> None:
    chain = chained(length)
    head = Head(length, chain[-1].hash)
    index = data.draw(st.integers(0, length - 1))
    number = index + 1
    match data.draw(st.sampled_from(["text", "rehashed", "removed", "swapped", "put in", "cut", "appended", "twice"])):
        case "text":
            body = str(chain[index].body).replace("U0ALICE", "U0BOB")
            chain[index] = replace(chain[index], body=body)
            assert found(chain, head=head) == f"entry {number} was changed: it does not match its hash"
        case "rehashed":
            body = str(chain[index].body).replace("U0ALICE", "U0BOB")
            hash = hash_of(chain[index].previous, number, digest_of(body))
            chain[index] = replace(chain[index], body=body, hash=hash)
            said = found(chain, head=head)
            assert f"entry {number}" in said
            assert "replaced" in said
        case "removed":
            del chain[index]
            said = found(chain, head=head)
            if index == 0:
                assert said == "entries 1 to 1 are missing, and no record says that retention deleted them"
            elif number == length:
                assert said == f"the end was cut off: entry {number} is missing"
            else:
                assert said == f"entry {number} was removed"
        case "swapped":
            other = (index + 1) % length
            chain[index], chain[other] = chain[other], chain[index]
            assert found(chain, head=head)
        case "put in":
            new = link(Head(index, chain[index - 1].hash if index else GENESIS), [entry(99)])[0]
            chain.insert(index, new)
            assert found(chain, head=head)
        case "cut":
            assert found(chain[:index], head=head).startswith("the end was cut off: ")
        case "appended":
            chain += link(head, [entry(99)])
            assert found(chain, head=head) == f"entry {length + 1} was put in behind the end, which is entry {length}"
        case "twice":
            chain.insert(index, chain[index])
            assert f"entry {number} stands behind entry {number}" in found(chain, head=head)


@given(st.integers(3, 8), st.data())
def test_only_a_head_noted_elsewhere_shows_a_chain_that_was_computed_anew(length: int, data: st.DataObject) -> None:
    chain = chained(length)
    noted = data.draw(st.integers(2, length))
    touched = data.draw(st.integers(0, noted - 1))
    forged = list(chain)
    forged[touched] = replace(forged[touched], body=str(forged[touched].body).replace("U0ALICE", "U0BOB"))
    forged = rewritten(forged, touched)
    assert found(forged, head=Head(length, forged[-1].hash)) == "", "nothing inside the forged chain shows it"
    said = found(forged, head=Head(length, forged[-1].hash), known=[Head(noted, chain[noted - 1].hash)])
    assert said == f"entry {noted} is not the one that was noted: the chain was written anew, from it or before"


# -- in the database


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[AuditLog]:
    store = Store(f"sqlite:///{tmp_path}/opsbot.db")
    await store.open()
    yield AuditLog(store, ManualClock(NOON + timedelta(days=100)))
    await store.close()


async def filled(log: AuditLog, count: int, *, start: int = 0) -> None:
    for number in range(start, start + count):
        await log.note(f"test:{number}", entry(number))


async def by_hand(log: AuditLog, *statements: str) -> None:
    """What somebody does who has the database and no scruples."""
    async with log.store.write() as connection:
        for trigger in ("opsbot_audit_no_update", "opsbot_audit_no_delete"):
            await connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {trigger}")
        for statement in statements:
            await connection.exec_driver_sql(statement)


async def said(log: AuditLog, *known: Head) -> str:
    code, text = await verify_database(log.store, known)
    assert code == (1 if text.startswith("✗") else 0)
    return text


async def test_what_is_told_together_is_stored_together_or_not_at_all(log: AuditLog) -> None:
    with pytest.raises(ZeroDivisionError):
        async with log.store.write() as connection:
            await log.add(connection, "half", [entry(1)])
            _ = 1 / 0
    assert (await said(log)) == "✓ The audit log is empty."
    await filled(log, 3)
    assert (await said(log)).startswith("✓ 3 entries, unbroken: 1 to 3.\nThis alone does not show")
    head = await log.head()
    assert f"head {head}" in await said(log)
    await filled(log, 3)  # told again, after a crash
    assert await log.head() == head


async def test_many_writers_at_once_make_one_chain(log: AuditLog) -> None:
    await asyncio.gather(*(log.note(f"test:{number}", entry(number), entry(number)) for number in range(40)))
    assert (await said(log)).startswith("✓ 80 entries, unbroken: 1 to 80.")


async def test_the_database_itself_refuses_to_change_or_to_delete(log: AuditLog) -> None:
    await filled(log, 3)
    for statement in ("UPDATE opsbot_audit SET actor = 'slack:U0BOB'", "DELETE FROM opsbot_audit WHERE number = 2"):
        with pytest.raises(sa.exc.SQLAlchemyError, match="the audit log is append-only"):
            async with log.store.write() as connection:
                await connection.exec_driver_sql(statement)
    assert (await said(log)).startswith("✓ 3 entries")


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE opsbot_audit SET body = replace(body, 'U0ALICE', 'U0BOB') WHERE number = 3", "entry 3 was changed"),
        (
            "UPDATE opsbot_audit SET actor = 'slack:U0BOB' WHERE number = 3",
            "entry 3 was changed: its column actor says",
        ),
        ("UPDATE opsbot_audit SET at = '2020-01-01T00:00:00.000000+00:00' WHERE number = 3", "its column at says"),
        ("DELETE FROM opsbot_audit WHERE number IN (3, 4)", "entries 3 to 4 were removed"),
        ("DELETE FROM opsbot_audit WHERE number <= 2", "entries 1 to 2 are missing, and no record says"),
        ("DELETE FROM opsbot_audit WHERE number >= 5", "the end was cut off: entries 5 to 6 are missing"),
        ("DELETE FROM opsbot_audit", "the end was cut off: entries 1 to 6 are missing"),
        ("UPDATE opsbot_audit SET number = 9 WHERE number = 6", "entries 6 to 8 were removed"),
        ("UPDATE opsbot_audit_head SET number = 5", "entry 6 was put in behind the end"),
    ],
)
async def test_what_was_done_by_hand_is_named(log: AuditLog, statement: str, problem: str) -> None:
    await filled(log, 6)
    await by_hand(log, statement)
    text = await said(log)
    assert text.startswith("✗ The audit log is broken: ")
    assert problem in text


async def test_cut_off_together_with_the_head_it_takes_a_noted_head_to_see_it(log: AuditLog) -> None:
    await filled(log, 6)
    noted = await log.head()
    hash = (await log.store.rows(sa.select(tables.audit.c.hash).where(tables.audit.c.number == 4)))[0].hash
    await by_hand(
        log,
        "DELETE FROM opsbot_audit WHERE number > 4",
        f"UPDATE opsbot_audit_head SET number = 4, hash = '{hash}'",
    )
    assert (await said(log)).startswith("✓ 4 entries")
    assert "the end was cut off: entries 5 to 6 are missing" in await said(log, noted)
    assert "1 head that you gave was met" in await said(log, Head(4, hash))


# -- retention


async def test_what_retention_deletes_stays_provable(log: AuditLog) -> None:
    await filled(log, 10)
    early, late = Head(3, await _hash(log, 3)), Head(8, await _hash(log, 8))
    assert await log.prune(NOON + timedelta(minutes=6)) == 6
    text = await said(log, early, late)
    assert text.startswith(
        "✓ 5 entries, unbroken: 7 to 11.\nEntries 1 to 6 were deleted by retention; the log says so."
    )
    assert "Deleted by retention, so not compared: the heads of 3." in text
    assert "1 head that you gave was met" in text
    assert await log.prune(NOON + timedelta(minutes=6)) == 0
    await filled(log, 2, start=20)
    assert await log.prune(NOON + timedelta(days=1)) == 4, "7 to 10: the record of the first time is younger"
    assert (await said(log)).startswith("✓ 4 entries, unbroken: 11 to 14.")
    assert await log.prune(NOON + timedelta(days=200)) == 4
    assert (await said(log)).startswith("✓ 1 entry, unbroken: 15 to 15.\nEntries 11 to 14 were deleted by retention")


async def test_retention_is_no_cover_for_who_deletes_more(log: AuditLog) -> None:
    await filled(log, 10)
    await log.prune(NOON + timedelta(minutes=4))
    await by_hand(log, "DELETE FROM opsbot_audit WHERE number <= 6")
    assert "entries 1 to 6 are missing, and no record says that retention deleted them" in await said(log)


async def _hash(log: AuditLog, number: int) -> str:
    rows = await log.store.rows(sa.select(tables.audit.c.hash).where(tables.audit.c.number == number))
    return str(rows[0].hash)


# -- exports


async def exported(log: AuditLog, path: Path, wanted: Wanted | None = None) -> list[dict[str, Any]]:
    out = io.StringIO()
    await export(log.store, wanted or Wanted(), out, NOON)
    path.write_text(out.getvalue(), encoding="utf-8")
    return [json.loads(line) for line in out.getvalue().splitlines()]


async def test_an_export_is_verified_without_the_database(log: AuditLog, tmp_path: Path) -> None:
    await filled(log, 4)
    lines = await exported(log, tmp_path / "e.jsonl")
    assert lines[0]["head"] == {"number": 4, "hash": (await log.head()).hash}
    assert lines[1]["entry"]["actor"] == "slack:U0ALICE"
    code, text = verify_file(tmp_path / "e.jsonl", [await log.head()])
    assert (code, text.split("\n")[0]) == (0, "✓ 4 entries, unbroken: 1 to 4.")


async def test_a_part_can_be_given_away_and_still_proves_to_be_a_part(log: AuditLog, tmp_path: Path) -> None:
    await filled(log, 3)
    await log.note("bob", entry(50, actor="slack:U0BOB"))
    await filled(log, 3, start=60)
    await log.prune(NOON + timedelta(minutes=2))
    path = tmp_path / "bob.jsonl"
    lines = await exported(log, path, Wanted(actor="slack:U0BOB"))
    assert "U0ALICE" not in path.read_text()
    assert [line["entry"]["kind"] for line in lines if "entry" in line] == ["step.done", "audit.pruned"]
    assert verify_file(path, [])[0] == 0
    for index in range(1, len(lines)):
        changed = [dict(line) for line in lines]
        if "entry" in changed[index]:
            changed[index]["entry"] = {**changed[index]["entry"], "actor": "slack:U0EVE"}
        else:
            changed[index]["digest"] = digest_of("something else")
        path.write_text("\n".join(map(json.dumps, changed)))
        assert verify_file(path, [])[0] == 1
        path.write_text("\n".join(json.dumps(line) for line in lines[:index] + lines[index + 1 :]))
        assert verify_file(path, [])[0] == 1


async def test_by_time_and_by_run(log: AuditLog, tmp_path: Path) -> None:
    await filled(log, 4)
    await log.note("run", entry(9, run_id="01JD0000000000000000000000"))
    some = await exported(
        log, tmp_path / "e", Wanted(since=NOON + timedelta(minutes=1), until=NOON + timedelta(minutes=3))
    )
    assert [line["number"] for line in some[1:] if "entry" in line] == [2, 3]
    run = await exported(log, tmp_path / "e", Wanted(run="01jd0000000000000000000000"))
    assert [line["number"] for line in run[1:] if "entry" in line] == [5]


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_any_file_is_answered(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError):
        verify_file(path, [])


def test_what_is_no_head() -> None:
    assert parse_head(f"57:{'a' * 64}") == Head(57, "a" * 64)
    for wrong in ("57", "57:abc", f"x:{'a' * 64}", f"5:{'A' * 64}", ""):
        with pytest.raises(UserError, match="--head takes a number and a hash"):
            parse_head(wrong)
