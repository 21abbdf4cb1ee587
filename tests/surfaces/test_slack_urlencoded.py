"""The form of a slash command, taken apart as ``urllib`` does, only sooner."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.surfaces.slack.urlencoded import fields_of


def by_urllib(text: str) -> dict[str, str]:
    return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=100, errors="strict"))


@given(st.dictionaries(st.text(min_size=1), st.text(), min_size=1))
def test_what_was_written_comes_back(fields: dict[str, str]) -> None:
    try:
        text = urlencode(fields)
    except UnicodeEncodeError:  # half a surrogate pair is no form
        return
    assert fields_of(text) == fields == by_urllib(text)


@given(st.text(alphabet="ab=&%+;2fFé\x00", max_size=40))
def test_it_never_disagrees_with_urllib(text: str) -> None:
    try:
        expected = by_urllib(text)
    except ValueError:
        with pytest.raises(ValueError, match=""):
            fields_of(text)
    else:
        assert fields_of(text) == expected if text else True


def test_a_hundred_fields_are_enough() -> None:
    with pytest.raises(ValueError, match="too many fields"):
        fields_of("&".join(f"f{number}=1" for number in range(101)))
