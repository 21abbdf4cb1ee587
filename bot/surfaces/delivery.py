"""Why a message did not reach people: later will do, or somebody has to change something first.

Every surface raises these two, and nothing else, from what it posts; so the code that keeps cards and pages alive does
not know Slack's error codes or GitHub's status codes.
"""

from __future__ import annotations


class TryLater(Exception):
    """The surface cannot take it now (rate limit, outage); ask again after ``after`` seconds.

    ``maybe_posted`` says that nobody can tell whether the message arrived: look for it before posting it again.
    """

    def __init__(self, after: float, reason: str = "", *, maybe_posted: bool = False) -> None:
        super().__init__(reason or f"try again in {after:.0f} s")
        self.after = after
        self.reason = reason
        self.maybe_posted = maybe_posted


class Undeliverable(Exception):
    """It will never arrive as it is (no such channel, no permission, locked issue).

    ``reason`` says what the surface answered; ``hint`` says what a person can do about it.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(f"{reason}. {hint}" if hint else reason)
        self.reason = reason
        self.hint = hint


class Gone(Undeliverable):
    """The place itself is not there, or not any more: nothing that people change makes it arrive."""
