"""``not_in_channel``: what Slack's refusals mean, and what to do about each. Pure.

Codes: https://docs.slack.dev/reference/methods
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from slack_sdk.errors import SlackApiError

from bot.surfaces.delivery import TryLater, Undeliverable

HINTS = {
    "channel_not_found": "Check the channel id in opsbot.toml; invite the bot with /invite @opsbot if it is private.",
    "not_in_channel": "Invite the bot to the channel: /invite @opsbot.",
    "is_archived": "Unarchive the channel or name another one in opsbot.toml.",
    "restricted_action": "A workspace preference forbids apps to post there; an admin can allow it.",
    "missing_scope": "Add the scope to the app (see manifest.yml) and install it again.",
    "user_not_in_channel": "The person is not a member of the channel.",
    "user_not_found": "Check the Slack id under [people].",
    "message_limit_exceeded": "The workspace is over its message limit.",
    "invalid_auth": "SLACK_BOT_TOKEN is not valid for this workspace; copy the bot token again.",
    "not_authed": "SLACK_BOT_TOKEN is missing.",
    "token_revoked": "SLACK_BOT_TOKEN was revoked; install the app again and set the new token.",
    "token_expired": "SLACK_BOT_TOKEN has expired; install the app again and set the new token.",
    "account_inactive": "The app was removed from the workspace; install it again.",
    "expired_trigger_id": "Press the button again.",
    "trigger_expired": "Press the button again.",
}
TOKEN = {"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive"}
PASSING = {
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
    "external_channel_migrating",
}
UNDRAWABLE = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "invalid_attachments", "msg_too_long"}
NO_PLACE = {"channel_not_found", "not_in_channel", "is_archived", "restricted_action", *TOKEN}
GONE = {"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"}


class MessageGone(Undeliverable):
    """The message that was to be changed is not there any more: post a new one."""


def judged(error: SlackApiError) -> TryLater | Undeliverable:
    """What Slack's refusal means for the one who asked."""
    response = error.response
    status: int = getattr(response, "status_code", 0) or getattr(response, "status", 0) or 0
    data = getattr(response, "data", None)
    reason = str(data.get("error", "")) if isinstance(data, dict) else ""
    if status == 429 or reason in ("ratelimited", "rate_limited"):
        return TryLater(retry_after(getattr(response, "headers", {})), "ratelimited")
    if status >= 500 or reason in PASSING or not reason:
        said = status >= 500 or status == 200 or bool(reason)  # it may have gone through all the same
        return TryLater(2.0, reason or f"Slack answered {status}", maybe_posted=said)
    if reason in GONE:
        return MessageGone(reason, "It was deleted or can no longer be edited.")
    hint = HINTS.get(reason, "")
    needed = data.get("needed") if isinstance(data, dict) else None
    return Undeliverable(reason, f"{hint} Needed: {needed}." if needed else hint)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds, between 0.1 and an hour; 1 when the header is missing or junk."""
    try:
        seconds = float(headers.get("Retry-After") or 1)
    except (TypeError, ValueError):
        return 1.0
    return min(max(seconds, 0.1), 3600.0) if math.isfinite(seconds) else 1.0
