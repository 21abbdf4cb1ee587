r"""A secret in any spelling: whatever a shell, JSON, a URL or base64 makes of it, nothing of it is left."""

from __future__ import annotations

import base64
import json
import re
import shlex
import string
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from bot import redaction
from bot.commands.lexer import split
from bot.messages import Code, CodeBlock, Fields, line, message
from bot.redaction import Redactor, by_looks, secrets_of

TOKENISH = string.ascii_letters + string.digits + "-_./+=~"
ANYTHING = "".join(chr(code) for code in range(33, 127)) + "äß€✓"
secrets = st.one_of(
    st.text(TOKENISH, min_size=12, max_size=60),
    st.text(ANYTHING, min_size=12, max_size=40),
    st.builds(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----".format, st.text(TOKENISH, min_size=60)
    ),
).filter(lambda secret: len(re.sub(r"[\s'\"`\\]", "", secret)) >= 8 and len(set(secret)) > 5)
around = st.text(st.sampled_from("abc XYZ019 {}[]:,;\n\t<>|&"), max_size=30)


def unicode_escaped(text: str) -> str:
    return "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in text)


def hex_escaped(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def octal_escaped(text: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in text.encode())


def percent_encoded(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def backslashed(text: str) -> str:
    return "".join(f"\\{c}" if c not in "\n" else f"'{c}'" for c in text)


def dollar_quoted(text: str) -> str:
    return "$'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def in_pieces(text: str) -> str:
    return "".join(shlex.quote(text[start : start + 5]) for start in range(0, len(text), 5))


def json_twice(text: str) -> str:
    return json.dumps(json.dumps({"value": text}))


def wrapped(text: str) -> str:
    return "\n".join(text[start : start + 7] for start in range(0, len(text), 7))


def continued(text: str) -> str:
    return "\\\n".join(text[start : start + 7] for start in range(0, len(text), 7))


def base64_within(text: str) -> str:
    return base64.b64encode(f"user:{text}\n".encode()).decode()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": lambda text: json.dumps({"value": text}),
    "JSON without ASCII": lambda text: json.dumps({"value": text}, ensure_ascii=False),
    "JSON in JSON": json_twice,
    "every character as \\u": unicode_escaped,
    "every byte as \\x": hex_escaped,
    "every byte as octal": octal_escaped,
    "URL": quote,
    "URL, everything": percent_encoded,
    "URL twice": lambda text: quote(quote(text, safe=""), safe=""),
    "a shell's single quotes": shlex.quote,
    "a shell's pieces": in_pieces,
    "a shell's backslashes": backslashed,
    "a shell's $'…'": dollar_quoted,
    "broken over lines": wrapped,
    "continued over lines": continued,
    "coloured": lambda text: text[:5] + "\x1b[01;31m\x1b[K" + text[5:],
    "with invisible characters": "\u200b".join,
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal with spaces": lambda text: text.encode().hex(" ").upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64, one byte before": lambda text: base64.b64encode(b"x" + text.encode()).decode(),
    "base64, two bytes before": lambda text: base64.b64encode(b"xy" + text.encode()).decode(),
    "base64 of name and password": base64_within,
    "base64 broken over lines": lambda text: base64.encodebytes(text.encode()).decode(),
}


def left(secret: str, text: str, spelling: Callable[[str], str]) -> bool:
    """Whether any four bytes of the secret in a row can be read from the text, in this spelling or as it is."""
    plain = {secret[start : start + 8] for start in range(len(secret) - 7)}
    return any(part in text for part in plain) or spelling(secret) in text


@pytest.mark.parametrize("name", SPELLINGS)
@settings(max_examples=40)
@given(secret=secrets, before=around, after=around)
@example(secret="000000012ß3}", before="", after="")  # \\u00df3} is no \\u{00df3}
def test_no_spelling_of_a_known_secret_is_left(name: str, secret: str, before: str, after: str) -> None:
    spell = SPELLINGS[name]
    text = f"{before} {spell(secret)} {after}"
    redacted = Redactor({"THE_TOKEN": secret})(text)
    assert not left(secret, redacted, spell), redacted
    assert "[redacted: THE_TOKEN]" in redacted
    assert len(redacted) <= len(text) + 30


@settings(max_examples=200)
@given(secret=st.text(TOKENISH, min_size=12, max_size=40), ways=st.lists(st.integers(0, 6), min_size=40, max_size=40))
def test_every_character_in_a_way_of_its_own(secret: str, ways: list[int]) -> None:
    assume(len(set(secret)) > 5)
    spell = (
        str,
        unicode_escaped,
        hex_escaped,
        percent_encoded,
        lambda c: f"{c}''",
        lambda c: f'"{c}"',
        lambda c: f"{c}\n ",
    )
    text = "".join(spell[way](c) for c, way in zip(secret, ways, strict=False))
    redacted = Redactor({"T": secret})(f"echo {text} | sh")
    assert redacted.startswith("echo ")
    assert not left(secret, redacted, str)
    assert text not in redacted


@given(secret=secrets, spelling=st.sampled_from(sorted(SPELLINGS)))
def test_json_stays_json(secret: str, spelling: str) -> None:
    redaction.install(Redactor({"T": secret}))
    try:
        stored = redaction.redacted_json(json.dumps({"a": [SPELLINGS[spelling](secret)], "n\nfoo": "b\\c"}))
        read = json.loads(stored)
        assert read["n\nfoo"] == "b\\c"
        assert not left(secret, read["a"][0], str)
    finally:
        redaction.install(Redactor())


@given(st.text(max_size=300))
@example("token: expired, password: required, secret=$SECRET --token ${{ secrets.X }}")
@example("/somas restart project-42 --from verify --reason 'the token ran out'")
@example("/runs retry 01JD0000000000000000000000 --input step2.exit_reason=panic")
@example("/runs approve 01JD0000000000000000000000 --digest 4f5a2c91d07b --confirm worker-3")
@example('{"cancellation_token": "cancelled", "tokens": 12, "secret": null, "max_token_count": 500000}')
@example("https://github.com/acme/somas/issues/42#issuecomment-1 http://127.0.0.1:8080/healthz")
@example("commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    redactor = Redactor(
        {"GITHUB_TOKEN": "Zq8-kx_93jdKla02jd/x", "SLACK_SIGNING_SECRET": "0123456789abcdef0123456789abcdef"}
    )
    assume("Zq8" not in text)
    if by_looks(text) == text:
        assert redactor(text) is text or redactor(text) == text
        assert redactor.command(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "token: expired",
        "password: required",
        "secret=$SECRET",
        "--token ${{ secrets.X }}",
        "the token ran out",
        '{"cancellation_token": "cancelled", "tokens": 12}',
        "children.token = 5",
        "api_key=<your key>",
        "see https://example.org/a:b/c@d",
        "credentials: missing",
    ],
)
def test_prose_about_secrets_is_no_secret(text: str) -> None:
    assert by_looks(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ghp_" + "a1B2" * 9, "[redacted: github-token]"),
        ("github_pat_" + "a1B2_" * 12, "[redacted: github-token]"),
        ("xoxb-1234567890-abcdefghij", "[redacted: slack-token]"),
        ("xapp-1-A0B-123-abcdef0123", "[redacted: slack-token]"),
        ("https://hooks.slack.com/services/T000/B000/XXXXXXXX", "https://[redacted: slack-webhook]"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted: aws-key]"),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "aws_secret_access_key = [redacted: secret_access_key]",
        ),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [redacted: authorization]"),
        ('-H "authorization: token abcd1234"', '-H "authorization: token [redacted: authorization]"'),
        ("bearer abcdefghijklmnopqrstuvwxyz", "bearer [redacted: authorization]"),
        ("postgres://bot:hunter2@db/x", "postgres://bot:[redacted: password]@db/x"),
        ("PASSWORD=hunter2x", "PASSWORD=[redacted: password]"),
        ('{"password": "correct horse battery"}', '{"password": "[redacted: password]"}'),
        ('{\\"api_key\\": \\"abc12345\\"}', '{\\"api_key\\": \\"[redacted: api_key]\\"}'),
        ("login --password hunter2x --user me", "login --password [redacted: password] --user me"),
        ("client_secret: 9f86d081884c7d65", "client_secret: [redacted: client_secret]"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNzaC1rZXk\\nabc\\n-----END OPENSSH PRIVATE KEY-----",
            "[redacted: private-key]",
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nabc+/=\ncut o",
            "[redacted: private-key]",
        ),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4", "[redacted: jwt]"),
    ],
)
def test_unknown_secrets_by_their_looks(text: str, shown: str) -> None:
    assert by_looks(text) == shown
    assert by_looks(shown) == shown, "a second look changes nothing"


@given(
    secret=st.text(TOKENISH, min_size=12, max_size=30),
    quoted=st.sampled_from(["{}", "'{}'", '"{}"', "'{0[0]}'\"{0[1]}\""]),
)
def test_a_command_without_its_secret_still_falls_into_the_same_words(secret: str, quoted: str) -> None:
    assume(len(set(secret)) > 5)
    assume(secret[0].isalnum())
    halves = (secret[:5], secret[5:])
    typed = quoted.format(halves) if "0[" in quoted else quoted.format(secret)
    told = Redactor({"GITHUB_TOKEN": secret}).command(f"/somas restart project-42 --reason {typed} --from verify")
    words = [word.value for word in split(told)]
    assert words[:4] == ["/somas", "restart", "project-42", "--reason"]
    assert words[-2:] == ["--from", "verify"]
    assert "[redacted:GITHUB_TOKEN]" in told
    assert secret[5:] not in told


def test_a_cut_leaves_no_half_of_a_secret() -> None:
    secret = "".join(chr(97 + (n * 7) % 26) + str(n % 10) for n in range(100))
    redactor = Redactor({"KEY": secret})
    for offset in range(0, 260, 13):
        text = "-" * (1000 - offset) + json.dumps(secret) + "." * 20_000
        assert not left(secret, redactor.clipped(text, 1000), str)
    text = "-" * (1000 + redactor.reach - 100) + secret + "." * 20_000
    assert not left(secret, redactor.clipped(text, 1000), str)
    many = (secret + " ") * 600  # what is put in is shorter, so what lies behind the cut moves forward
    assert not left(secret, redactor.clipped(many, 1000), str)


def test_too_short_for_a_secret() -> None:
    redactor = Redactor({"SLACK_SIGNING_SECRET": "s", "GITHUB_TOKEN": ""})
    assert redactor("restart") == "restart"
    assert redactor.too_short == ["SLACK_SIGNING_SECRET"]


@pytest.mark.parametrize(
    "part",
    [
        "a",
        "\\",
        "token",
        "eyJ",
        "-----BEGIN PRIVATE KEY-----",
        "://a:",
        "bearer ",
        "password:",
        "%25",
        "&#",
        "xoxb-",
        "\\u00",
        "a://",
    ],
)
def test_no_text_makes_it_slow(part: str) -> None:
    redactor = Redactor({f"S{n}": f"{n}" * 3 + "zYxW-vUtS_rQ" for n in range(8)})
    text = (part * 70_000)[:65_536]
    began = time.perf_counter()
    redactor(text)
    assert time.perf_counter() - began < 1.0, "20 ms on an idle machine"


def test_the_whole_of_a_message_and_of_a_model() -> None:
    class Inner(BaseModel):
        text: str
        many: tuple[str, ...] = ()

    class Outer(BaseModel):
        token: SecretStr = SecretStr("Zq8-kx_93jdKla02jd")
        inner: Inner = Inner(text="Zq8-kx_93jdKla02jd", many=("Zq8-kx_93jdKla02jd",))
        others: dict[str, SecretStr] = {"a": SecretStr("another one")}

    assert secrets_of(Outer(), {"token": "TOKEN"}) == {"TOKEN": "Zq8-kx_93jdKla02jd", "others.a": "another one"}
    redaction.install(Redactor(secrets_of(Outer(), {"token": "TOKEN"})))
    try:
        said = message(
            Fields((("Key", line(Code("Zq8-kx_93jdKla02jd"))),)),
            CodeBlock("a\nZq8-kx_93jdKla02jd"),
            summary="Zq8-kx_93jdKla02jd",
        )
        assert "Zq8" not in repr(redaction.redacted(said))
        assert (
            "Zq8"
            not in redaction.redacted(Inner(text="Zq8-kx_93jdKla02jd", many=("Zq8-kx_93jdKla02jd",))).model_dump_json()
        )
    finally:
        redaction.install(Redactor())
