"""Writing mails: whatever is handed in, no header, no recipient and no line comes of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_string
from email.message import EmailMessage
from email.policy import SMTPUTF8
from importlib.resources import files
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import catalogue
from notifier.letter import Envelope, Letter, seal, write
from shared.addresses import normal
from shared.errors import Rejected

NOW = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)
TYPES = catalogue.read((Path(__file__).parents[2] / "policies" / "messages.yaml").read_text())
TEMPLATES = {type_.template for type_ in TYPES.values()}
PARAMS: dict[str, Any] = {
    "service": "Sto2 öst",
    "starts": "2026-12-01T01:00:00Z",
    "ends": "2026-12-01T03:00:00Z",
    "what": "En switch byts.\nInget mer.",
    "advice": "Change your passwords.",
    "from_day": "2026-12-01",
    "link": "https://provider.example/news?id=1",
    "title": "News from us",
    "text": "All is well.",
}
ALERT = {
    "severity": "critical",
    "summary": "purge overdue at holder crm",
    "state": "firing",
    "labels": [["holder", "crm"]],
    "runbook": "purge-overdue",
}
HEADERS = [
    "Auto-Submitted",
    "Content-Language",
    "Content-Transfer-Encoding",
    "Content-Type",
    "Date",
    "From",
    "MIME-Version",
    "Message-ID",
    "Subject",
    "To",
]
ENVELOPE = Envelope(
    delivery=UUID("0199a7c2-8f3e-7a10-8c22-000000000001"),
    sender="gallra@provider.example",
    domain="provider.example",
    recipient="ops@customer.example",
    locale="en",
)

INJECTIONS = {
    "CR LF and a header": "x\r\nBcc: evil@x.se",
    "LF and a header": "x\nBcc: evil@x.se",
    "CR and a header": "x\rBcc: evil@x.se",
    "an end of headers": "x\n\nBcc: evil@x.se",
    "an end of headers with CR": "x\r\n\r\nBcc: evil@x.se",
    "a folded line": "x\r\n Bcc: evil@x.se",
    "a trailing line break": "x\n",
    "NUL": "x\x00Bcc: evil@x.se",
    "vertical tab and form feed": "x\x0bBcc: evil@x.se\x0cBcc: evil@x.se",
    "escape": "\x1b[2J",
    "delete": "x\x7f",
    "next line": "x\x85Bcc: evil@x.se",
    "line separator": "x\u2028Bcc: evil@x.se",
    "paragraph separator": "x\u2029Bcc: evil@x.se",
    "an encoded word with a line break": "=?UTF-8?Q?A=0ABcc:_evil@x.se?=",
    "an encoded word in base64": "=?utf-8?b?QQpCY2M6IGV2aWxAeC5zZQ==?=",
    "an encoded word with a language": "=?utf-8*en?Q?A=0ABcc:_evil@x.se?=",
    "an encoded word in the middle": "hello =?iso-8859-1?q?A=0D=0ABcc:_evil@x.se?= you",
    "an encoded word without a charset": "=??Q?A=0ABcc:_evil@x.se?=",
    "right to left": "\u202eevil\u202c \u2066x\u2069",
    "zero width": "ev\u200bil\ufeff",
    "beyond the BMP": "\U0001f9ca ice",
    "8-bit": "Överföring åt Åsa",
    "half a surrogate pair": "x\ud800",
    "very long": "x" * 5_000,
    "very long and 8-bit": "ö" * 5_000,
    "very long in words": "word " * 2_000,
    "a dot on a line": ".\r\nMAIL FROM:<evil@x.se>",
    "a boundary": "--===============\r\nContent-Type: text/html",
    "a template": "{{ 7 * 7 }}{% raw %}",
    "an address list": "ops@customer.example, evil@x.se",
    "a group": "team: ops@customer.example, evil@x.se;",
    "a route": "<@evil.se:ops@customer.example>",
    "a name with an address": "Evil <evil@x.se>",
    "a comment": "ops@customer.example (evil@x.se)",
    "angle brackets": "ops@customer.example> <evil@x.se",
    "empty": "",
    "a space": " ",
}


def parsed(raw: bytes) -> EmailMessage:
    return cast("EmailMessage", message_from_string(raw.decode(), policy=SMTPUTF8))


def check(raw: bytes, recipient: str = ENVELOPE.recipient) -> EmailMessage:
    """Assert that *raw* is a sound mail to *recipient* alone, with the headers that are meant."""
    assert all(len(line) <= 998 for line in raw.split(b"\r\n")), "a line is too long (RFC 5322)"
    assert raw.count(b"\r\n") == raw.count(b"\n") == raw.count(b"\r"), "a bare CR or LF"
    assert b"\x00" not in raw
    mail = parsed(raw)
    assert sorted(mail.keys()) == HEADERS
    assert [a.addr_spec for a in mail["To"].addresses] == [recipient]
    assert [a.addr_spec for a in mail["From"].addresses] == [ENVELOPE.sender]
    assert mail.get_content_type() == "text/plain"
    assert not mail.is_multipart()
    return mail


def sealed(letter: Letter, **envelope: Any) -> bytes | None:
    """Return the mail, or None if it was refused."""
    try:
        return seal(letter, Envelope(**{**_fields(ENVELOPE), **envelope}), NOW)
    except Rejected:
        return None


def _fields(envelope: Envelope) -> dict[str, Any]:
    return {name: getattr(envelope, name) for name in Envelope.__slots__}


# What is meant to work


@pytest.mark.parametrize("locale", ["sv", "en"])
@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_every_template_makes_a_mail(template: str, locale: str):
    letter = write(template, locale, PARAMS)
    mail = check(seal(letter, ENVELOPE, NOW))
    assert mail["Subject"] == letter.subject
    assert "{" not in letter.subject + letter.body
    assert mail.get_content().splitlines() == letter.body.splitlines()


def test_an_alert_makes_a_mail():
    letter = write("ops-alert", "en", ALERT)
    assert letter.subject == "[critical] purge overdue at holder crm"
    assert "holder: crm" in letter.body
    assert "Runbook:  purge-overdue" in letter.body
    check(seal(letter, ENVELOPE, NOW))
    assert "Runbook" not in write("ops-alert", "en", {**ALERT, "runbook": None}).body


def test_the_templates_are_those_of_the_catalogue_and_the_alert():
    folder = files("notifier").joinpath("templates")
    present = {path.name for path in folder.iterdir()}
    assert present == {f"{t}.{x}.txt" for t in TEMPLATES for x in ("sv", "en")} | {
        "ops-alert.en.txt"
    }


def test_the_headers_say_what_the_mail_is():
    mail = check(seal(Letter("Hello", "Body.\n"), ENVELOPE, NOW))
    assert mail["Message-ID"] == f"<{ENVELOPE.delivery}@provider.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Content-Language"] == "en"
    assert mail["Date"].datetime == NOW
    assert ENVELOPE.return_path == f"b+{ENVELOPE.delivery}@provider.example"


def test_a_second_attempt_is_the_same_mail():
    letter = write("news", "sv", PARAMS)
    assert seal(letter, ENVELOPE, NOW) == seal(letter, ENVELOPE, NOW)


@pytest.mark.parametrize(
    "recipient", ["åsa@exempel.example", "用户@例子.example", "o'brien+x@x.example"]
)
def test_a_mail_can_go_to_every_address(recipient: str):
    raw = seal(
        Letter("Hej", "Å.\n"), Envelope(**{**_fields(ENVELOPE), "recipient": recipient}), NOW
    )
    check(raw, recipient)
    assert f"\r\nTo: {recipient}\r\n".encode() in raw  # as it is (RFC 6532), not encoded


# Whatever is handed in


def _slots() -> Iterator[tuple[str, str]]:
    yield from ((t, p) for t in sorted(TEMPLATES) for p in PARAMS)
    yield from (("ops-alert", p) for p in ALERT if p != "labels")


@pytest.mark.parametrize("injection", INJECTIONS)
def test_no_parameter_adds_a_header(injection: str):
    refusals: list[Rejected] = []
    written = 0
    for template, name in _slots():
        params = (ALERT if template == "ops-alert" else PARAMS) | {name: INJECTIONS[injection]}
        try:
            letter = write(template, "en", params)
        except Rejected as refusal:
            refusals.append(refusal)
            continue
        if (raw := sealed(letter)) is not None:
            check(raw)
            written += 1
    assert {refusal.code for refusal in refusals} <= {"header-injection"}
    assert "evil" not in str(refusals)
    assert written  # a parameter that is not in the subject may say anything


@pytest.mark.parametrize("injection", [*list(INJECTIONS)[:19], "very long", "very long and 8-bit"])
def test_a_parameter_that_would_break_the_subject_is_refused_before_it_is_sealed(injection: str):
    with pytest.raises(Rejected) as refusal:
        write("news", "en", {**PARAMS, "title": INJECTIONS[injection]})
    assert refusal.value.code == "header-injection"


@pytest.mark.parametrize("injection", INJECTIONS)
def test_no_label_of_an_alert_adds_a_header(injection: str):
    text = INJECTIONS[injection]
    raw = sealed(write("ops-alert", "en", {**ALERT, "labels": [[text, text]]}))
    if raw is not None:
        check(raw)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_no_subject_adds_a_header(injection: str):
    raw = sealed(Letter(INJECTIONS[injection], "Body.\n"))
    if raw is not None:
        check(raw)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_no_address_adds_a_recipient(injection: str):
    for address in (
        INJECTIONS[injection],
        f"{INJECTIONS[injection]}@customer.example",
        f"ops@{INJECTIONS[injection]}",
        f"ops@customer.example{INJECTIONS[injection]}",
    ):
        raw = sealed(Letter("Hello", "Body.\n"), recipient=address)
        if raw is not None:
            check(raw, normal(address))
        try:
            spelt = normal(address)
        except Rejected:
            continue
        assert spelt.isprintable()
        assert not set(spelt) & set(' ,;<>()"\\:')
        assert spelt.count("@") == 1
        if (raw := sealed(Letter("Hello", "Body.\n"), recipient=spelt)) is not None:
            check(raw, spelt)


@given(st.text(), st.text(), st.text())
def test_no_text_at_all_adds_a_header(title: str, text: str, recipient: str):
    try:
        letter = write("news", "sv", {"title": title, "text": text})
    except Rejected:
        return
    raw = sealed(letter)
    if raw is not None:
        check(raw)
    raw = sealed(letter, recipient=recipient)
    if raw is not None:
        check(raw, normal(recipient))


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])))
def test_the_body_arrives_as_it_was_written(text: str):
    mail = check(seal(Letter("Hello", f"{text}\n"), ENVELOPE, NOW))
    assert mail.get_content().replace("\r\n", "\n") == f"{text}\n"


# What is refused


@pytest.mark.parametrize("template", ["", "..", "../app", "news.en", "NEWS", "news\x00", "ö" * 200])
def test_a_template_that_does_not_exist_is_refused(template: str):
    with pytest.raises(Rejected) as refusal:
        write(template, "en", PARAMS)
    assert refusal.value.code == "unknown-template"


def test_a_template_that_is_not_in_the_language_is_refused():
    with pytest.raises(Rejected) as refusal:
        write("ops-alert", "sv", ALERT)
    assert refusal.value.code == "unknown-template"


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_a_missing_parameter_is_refused(template: str):
    with pytest.raises(Rejected) as refusal:
        write(template, "en", {})
    assert refusal.value.code == "missing-parameter"


@pytest.mark.parametrize("labels", [7, "text", [1], [["a", "b", "c"]], {"a": "b"}])
def test_an_unfit_parameter_is_refused(labels: object):
    with pytest.raises(Rejected) as refusal:
        write("ops-alert", "en", {**ALERT, "labels": labels})
    assert refusal.value.code == "unfit-parameter"
