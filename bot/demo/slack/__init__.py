"""The local Slack workspace of ``opsbot demo`` and of the tests: a stand-in for Slack, over real HTTP."""

from __future__ import annotations

from bot.demo.slack.delivery import Delivery
from bot.demo.slack.local import LocalSlack, SlashAnswer
from bot.demo.slack.modals import SubmitAnswer
from bot.demo.slack.page import Hint, SlashCommand
from bot.demo.slack.reading import LocalButton
from bot.demo.slack.workspace import LocalMessage, LocalView

__all__ = [
    "Delivery",
    "Hint",
    "LocalButton",
    "LocalMessage",
    "LocalSlack",
    "LocalView",
    "SlashAnswer",
    "SlashCommand",
    "SubmitAnswer",
]
