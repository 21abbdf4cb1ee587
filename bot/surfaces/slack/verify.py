"""``401``: what does not come from Slack stops here, before anything reads it.

Slack signs ``v0:<timestamp>:<raw body>`` with the app's signing secret:
https://docs.slack.dev/authentication/verifying-requests-from-slack. Pure; slack_sdk's verifier raises on a timestamp
that is not a number, and it asks the machine's clock.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from datetime import datetime

MAXIMUM_AGE = 300  # seconds, Slack's advice, in both directions
TIMESTAMP = "X-Slack-Request-Timestamp"
SIGNATURE = "X-Slack-Signature"

_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


def header_problem(headers: Mapping[str, str], now: datetime) -> str:
    """What is wrong with the two headers, as far as it shows without the body; empty when nothing is."""
    timestamp, signature = headers.get(TIMESTAMP), headers.get(SIGNATURE)
    if timestamp is None or signature is None:
        return f"{TIMESTAMP if timestamp is None else SIGNATURE} is missing"
    if not _SECONDS.fullmatch(timestamp):
        return f"{TIMESTAMP} is not a number of seconds"
    if abs(now.timestamp() - int(timestamp)) > MAXIMUM_AGE:
        return f"{TIMESTAMP} is more than {MAXIMUM_AGE} seconds away from this machine's clock"
    return ""


def signature_problem(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """What is wrong with a request, in one sentence; empty when Slack sent it, and sent it just now."""
    if problem := header_problem(headers, now):
        return problem
    signed = b"v0:" + headers[TIMESTAMP].encode() + b":" + body
    expected = "v0=" + hmac.digest(secret.encode(), signed, "sha256").hex()
    given = headers[SIGNATURE].encode("utf-8", "surrogateescape")
    if not secret or not hmac.compare_digest(expected.encode(), given):
        return f"{SIGNATURE} does not match the body"
    return ""
