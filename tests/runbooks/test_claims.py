"""What is read out of a document, whatever state its Markdown is in."""

from __future__ import annotations

import textwrap
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bot.runbooks.claims import Claim, Kind, claims_of

ORIGINALS = Path(__file__).parent / "originals"


def said(text: str, *kinds: Kind) -> list[tuple[int, str, str]]:
    """Line, kind and text of what a document claims."""
    found = claims_of(textwrap.dedent(text))
    return [(claim.line, claim.kind, claim.text) for claim in found if claim.kind in kinds]


def one(text: str, kind: Kind) -> Claim:
    (found,) = (claim for claim in claims_of(textwrap.dedent(text)) if claim.kind == kind)
    return found


class TestShell:
    def test_a_filter_behind_cat_knows_its_file(self) -> None:
        claim = one("```bash\n# Count\ncat .somas/projects/<project-id>/dead_letters.json | jq 'length'\n```", "filter")
        assert claim.line == 3
        assert claim.name == ".somas/projects/<project-id>/dead_letters.json"
        assert claim.details == {"expression": "length", "slurp": ""}

    def test_commands_within_quotes_substitutions_and_conditions_are_read_too(self) -> None:
        text = """
            ```bash
            watch -n 30 'cat state.json | jq ".status"'
            CHECKPOINT=$(cat state.json | jq -r '.last')
            if [ $(cat dead_letters.json | jq 'length') -gt 10 ]; then
            ```
            """
        assert said(text, "filter") == [
            (3, "filter", "jq '.status'"),
            (4, "filter", "jq '.last'"),
            (5, "filter", "jq 'length'"),
        ]

    def test_a_dispatch_that_goes_on_below_has_each_input_on_its_line(self) -> None:
        dispatch = "gh workflow run pipeline.yml \\\n  -f project_id=<project-id> \\\n  -f start_stage=<stage-name>"
        text = f"```sh\n{dispatch}\n```"
        assert said(text, "workflow", "input") == [
            (2, "workflow", "pipeline.yml"),
            (3, "input", "-f project_id=<project-id>"),
            (4, "input", "-f start_stage=<stage-name>"),
        ]
        assert one(text, "workflow").words == ("project_id", "start_stage")

    def test_what_is_written_into_a_file(self) -> None:
        claim = one('```\necho "[]" > dead_letters.json\n```', "write")
        assert (claim.name, claim.details["content"]) == ("dead_letters.json", "[]")

    def test_a_quotation_without_an_end_costs_only_its_line(self) -> None:
        assert said("```bash\ngrep 'a b\ngrep x log.txt\n```", "search") == [(3, "search", "grep x log.txt")]


class TestProse:
    def test_a_label_in_a_list(self) -> None:
        assert said("# Title\n\n1. Check issues with `somas:failed` label\n", "label") == [(3, "label", "somas:failed")]

    def test_what_is_said_not_to_be_there_is_no_claim(self) -> None:
        text = "There is no label `somas:failed`. Use `somas:manual`, but never `somas:retry`."
        assert said(text, "label") == [(1, "label", "somas:manual")]

    def test_file_names_are_no_facts(self) -> None:
        text = "`health.uptime_secs` advances; see state.json, config.yml and docs/runbooks.md."
        assert said(text, "fact") == [(1, "fact", "health.uptime_secs")]

    def test_a_table_without_an_empty_line_around_it(self) -> None:
        text = """\
            P1-001: Crash
            Symptoms: It is gone.
            | Step | Action | Expected Metrics | Estimated Duration |
            |---|---|---|---|
            | 1 | If stalled, look: pgrep -x supervisor | exit code == 0 | 1min |
            Escalation: Call L2.
            """
        assert said(text, "command", "expectation") == [
            (5, "command", "pgrep -x supervisor"),
            (5, "expectation", "exit code == 0"),
        ]

    def test_the_levels_of_a_threshold_table(self) -> None:
        head = "| Metric | Warning Threshold | Critical Threshold |\n|--|--|--|\n"
        text = head + "| Pipeline duration | > 24 hours | > 72 hours |"
        claims = [claim for claim in claims_of(text) if claim.kind == "threshold"]
        assert [(claim.name, claim.details["level"], claim.details["value"]) for claim in claims] == [
            ("Pipeline duration", "warning", "24"),
            ("Pipeline duration", "critical", "72"),
        ]

    def test_front_matter_is_no_prose_and_keeps_the_lines(self) -> None:
        assert said("---\nid: a\nproduct: b.c\n---\n\nSee `somas:x`.\n", "label", "fact") == [(6, "label", "somas:x")]


def test_yaml_belongs_to_the_file_that_the_sentence_before_it_names() -> None:
    claim = one("In `.somas/config.yml`:\n\n```yaml\npipeline:\n   enabled: false # off\n```", "config")
    assert (claim.line, claim.name) == (5, "pipeline.enabled")
    assert claim.details == {"file": ".somas/config.yml", "value": "false"}


def test_python_asks_a_class_for_arguments_and_methods() -> None:
    text = "```python\nfrom a.b import Breaker\nbreaker = Breaker(service='x')\nbreaker.reset()\n```"
    found = [claim for claim in claims_of(text) if claim.kind == "api"]
    assert [(claim.line, claim.name, claim.details["argument"], claim.details["member"]) for claim in found] == [
        (3, "Breaker", "service", ""),
        (4, "Breaker", "", "reset"),
    ]


PIECES = st.sampled_from(
    ["```bash\n", "```\n", "```yaml\n", "```python\n", "| Step | Action | Expected Metrics |\n", "|---|---|---|\n",
     "| 1 |", "jq '", "$(", ")", "`", "'", '"', " > ", " | ", "gh workflow run ", "-f ", "a:b", "---\n", "\\\n", "x.y",
     '"" ', "grep ", "echo ", "\n", " ", "cat ", "\x00", "\r\n"]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=8), max_size=40).map("".join))
def test_no_text_makes_it_raise_and_every_claim_is_on_a_line_of_the_document(text: str) -> None:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
    for claim in claims_of(text):
        assert 1 <= claim.line <= lines
