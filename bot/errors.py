"""What went wrong, told apart: the person's input, the system that is driven, or the bot itself."""

from __future__ import annotations


class UserError(Exception):
    """The request cannot be done as it was asked; the text says what to do instead.

    ``suggestions`` are whole commands that can be run as they stand; a surface offers them as buttons.
    """

    def __init__(self, message: str, *, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.suggestions = suggestions


class Unavailable(UserError):
    """A system that is driven does not answer; the text names it, what was tried and what to look at."""


class NotNow(Unavailable):
    """A system that is driven asks to wait, or did not answer: worth asking again after ``after`` seconds.

    ``maybe_done``: a change was sent and nobody can tell whether it happened, so it must not be sent again blindly.
    """

    def __init__(self, message: str, after: float, *, maybe_done: bool = False) -> None:
        super().__init__(message)
        self.after = after
        self.maybe_done = maybe_done


class SettingsError(Exception):
    """A setting is wrong or missing; the text names the key, the problem and an example."""
