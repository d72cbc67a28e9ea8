"""Writing mails: whatever is handed in, no header, no recipient and no line comes of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_string
from email.message import EmailMessage
from email.policy import SMTPUTF8
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import catalogue, letter
from notifier.letter import Envelope, Footing, Letter, message_id, prepare, return_path, seal
from notifier.template import LAYOUT, LOCALES, shipped
from shared.addresses import normal, on_the_wire
from shared.errors import Rejected

NOW = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)
TYPES = catalogue.read((Path(__file__).parents[2] / "policies" / "messages.yaml").read_text())
SHIPPED = shipped()
ALERTS = "ops-alert"
TEMPLATES = {type_.template for type_ in TYPES.values()} - {ALERTS}
MANDATORY = Footing("GDPR Art. 6(1)(f)", refusable=False)
OPTIONAL = Footing("Consent", refusable=True)
SENDER = "gallra@provider.example"
LINK = "https://mail.provider.example/u/" + "aB-_" * 30
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
    "customer": "c-100",
    "case": "R-2026-17",
    "right": "Access",
    "answer": "Here is what we hold.\nIt is not much.",
    "holder": "crm",
    "due": "2026-12-01T01:00:00Z",
    "about": "complexity",
    "day": "2027-02-24",
    "first_day": "2026-10-01",
    "last_day": "2026-10-31",
    "held": 12345,
    "due_records": 2,
    "overdue": 0,
    "purged": 17,
    "late": 1,
    "unconfirmed": 3,
    "requests_open": 4,
    "requests_late": 0,
    "sha256": "ab" * 32,
}
ALERT: dict[str, Any] = {
    "kind": "alert",
    "severity": "critical",
    "about": {"summary": "purge overdue at holder crm", "name": "", "others": 0},
    "count": 1,
    "count_over": 0,
    "alerts": [
        {
            "severity": "critical",
            "summary": "purge overdue at holder crm",
            "labels": [["holder", "crm"]],
            "since": "2026-11-23T10:15:00+00:00",
            "runbook": "purge-overdue",
            "new": True,
            "acknowledged": False,
        }
    ],
    "more": 0,
    "over": [],
    "more_over": 0,
    "link": "https://mail.provider.example/a/x",
}


def labelled(labels: object) -> dict[str, Any]:
    [alert] = ALERT["alerts"]
    return {**ALERT, "alerts": [{**alert, "labels": labels}]}


HEADERS = [
    "Auto-Submitted",
    "Content-Language",
    "Content-Type",
    "Date",
    "From",
    "Gallra-Template",
    "MIME-Version",
    "Message-ID",
    "Subject",
    "To",
]
ENVELOPE = Envelope(UUID("0199a7c2-8f3e-7a10-8c22-000000000001"), "ops@customer.example")

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


def write(
    template: str, locale: str, params: dict[str, Any], footing: Footing = MANDATORY
) -> Letter:
    """Write a letter from those of *params* that the template takes."""
    version = SHIPPED.newest(template)
    takes = version.schema.get("properties", params)
    fit = {name: value for name, value in params.items() if name in takes}
    return letter.write(SHIPPED, version, locale, fit, footing)


def plain(subject: str, text: str) -> Letter:
    return Letter(subject, text, "<p>Body.</p>\n", "news/1", "en")


def parsed(raw: bytes) -> EmailMessage:
    return cast("EmailMessage", message_from_string(raw.decode(), policy=SMTPUTF8))


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    text: str = part.get_content()
    return text.replace("\r\n", "\n")


def check(raw: bytes, recipient: str = ENVELOPE.recipient) -> EmailMessage:
    """Assert that *raw* is a sound mail to *recipient* alone, with the headers that are meant."""
    assert all(len(line) <= 998 for line in raw.split(b"\r\n")), "a line is too long (RFC 5322)"
    body = raw.partition(b"\r\n\r\n")[2]
    assert body.isascii()
    assert all(len(line) <= 76 for line in body.split(b"\r\n")), "RFC 2045 6.7"
    assert raw.count(b"\r\n") == raw.count(b"\n") == raw.count(b"\r"), "a bare CR or LF"
    assert b"\x00" not in raw
    mail = parsed(raw)
    assert not mail.defects
    own = {"List-Unsubscribe", "List-Unsubscribe-Post", "List-Id", "References"}
    assert sorted(set(mail.keys()) - own) == HEADERS
    assert len(mail.keys()) == len(set(mail.keys()))
    assert [a.addr_spec for a in mail["To"].addresses] == [on_the_wire(recipient)]
    assert [a.addr_spec for a in mail["From"].addresses] == [SENDER]
    parts = [part.get_content_type() for part in mail.walk()]
    assert parts[-2:] == ["text/plain", "text/html"] or parts[-1] == "text/calendar"
    return mail


def mailed(written: Letter, envelope: Envelope = ENVELOPE, **prepared: Any) -> bytes:
    return seal(prepare(written, sender=SENDER, name="m-1", **prepared), envelope, NOW)


def sealed(written: Letter, recipient: str = ENVELOPE.recipient) -> bytes | None:
    """Return the mail, or None if it was refused."""
    try:
        return mailed(written, Envelope(ENVELOPE.delivery, recipient))
    except Rejected:
        return None


# What is meant to work


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_every_template_makes_a_mail(template: str, locale: str):
    written = write(template, locale, PARAMS)
    mail = check(mailed(written))
    assert mail["Subject"] == written.subject
    assert mail["Gallra-Template"] == SHIPPED.newest(template).label
    assert "{" not in written.subject + written.text
    assert text_of(mail) == written.text
    html = mail.get_body(("html",))
    assert html is not None
    assert html.get_content().replace("\r\n", "\n") == written.html
    for said in (written.text, written.html):
        assert "GDPR Art. 6(1)(f)" in said
        assert SHIPPED.newest(template).label in said


def test_an_alert_makes_a_mail():
    internal = Footing("", refusable=False)
    written = write(ALERTS, "en", ALERT, internal)
    assert written.subject == "[critical] purge overdue at holder crm"
    assert "holder: crm" in written.text
    assert "Runbook: purge-overdue" in written.text
    assert "https://mail.provider.example/a/x" in written.text
    assert "Legal basis" not in written.text
    check(mailed(written))
    check(mailed(write(ALERTS, "sv", ALERT, internal)))
    for kind in ("digest", "heartbeat", "resolved", "reminder", "escalation"):
        check(mailed(write(ALERTS, "en", {**ALERT, "kind": kind}, internal)))
    [alert] = ALERT["alerts"]
    without = {**ALERT, "alerts": [{**alert, "runbook": ""}], "link": ""}
    assert "Runbook" not in write(ALERTS, "en", without).text
    assert "Acknowledge" not in write(ALERTS, "en", without).html


def test_the_templates_are_those_of_the_catalogue():
    assert {name for name, _ in SHIPPED.versions} == TEMPLATES | {ALERTS, LAYOUT}


def test_moments_and_days_are_said_as_people_say_them():
    assert "tisdag 1 december 2026 02:00 (CET)" in write("maintenance-window", "sv", PARAMS).text
    assert "Tuesday 1 December 2026 02:00 (CET)" in write("maintenance-window", "en", PARAMS).text
    assert "1 december 2026" in write("agreement-change", "sv", PARAMS).subject
    summer = write("maintenance-window", "en", {**PARAMS, "starts": "2026-07-01T01:00:00Z"})
    assert "03:00 (CEST)" in summer.text
    assert "tonight" in write("maintenance-window", "en", {**PARAMS, "starts": "tonight"}).subject


def test_the_headers_say_what_the_mail_is():
    mail = check(mailed(plain("Hello", "Body.\n")))
    assert mail["Message-ID"] == f"<{ENVELOPE.delivery}@provider.example>"
    assert mail["Message-ID"] == message_id(ENVELOPE.delivery, "provider.example")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Content-Language"] == "en"
    assert mail["Date"].datetime == NOW
    expected = f"b+{ENVELOPE.delivery}@provider.example"
    assert return_path(ENVELOPE.delivery, "provider.example") == expected
    assert "List-Unsubscribe" not in mail
    assert "References" not in mail


def test_optional_mail_can_be_declined():
    envelope = Envelope(ENVELOPE.delivery, ENVELOPE.recipient, LINK)
    for locale in LOCALES:
        mail = check(mailed(write("news", locale, PARAMS, OPTIONAL), envelope))
        assert mail["List-Unsubscribe"] == f"<{LINK}>"
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert mail["List-Id"] == "<news.provider.example>"
        html = mail.get_body(("html",))
        assert html is not None
        assert f'href="{LINK}"' in html.get_content()
        assert f": {LINK}\n" in text_of(mail)


@given(st.text(st.sampled_from("aå=. \n"), max_size=200), st.integers(0, 300))
def test_the_link_stands_wherever_it_is_said(before: str, length: int):
    link = "https://x.example/" + "u" * length
    said = plain("Hello", f"{before}\ue000 after\n")
    mail = check(mailed(said, Envelope(ENVELOPE.delivery, ENVELOPE.recipient, link)))
    assert text_of(mail) == f"{before}{link} after\n"


def test_a_window_comes_with_its_calendar_entry():
    calendar = b"BEGIN:VCALENDAR\r\nMETHOD:CANCEL\r\nEND:VCALENDAR\r\n"
    mail = check(mailed(plain("Hello", "Body.\n"), calendar=calendar, thread="uid"))
    *_, part = mail.walk()
    assert part.get_content_type() == "text/calendar"
    assert part["Content-Type"].params["method"] == "CANCEL"
    assert part.get_payload(decode=True) == calendar
    assert mail["References"].endswith("@thread.provider.example>")


def test_a_second_attempt_is_the_same_mail():
    written = write("news", "sv", PARAMS)
    assert mailed(written) == mailed(written)


@pytest.mark.parametrize(
    "recipient", ["åsa@exempel.example", "用户@例子.example", "o'brien+x@x.example"]
)
def test_a_mail_can_go_to_every_address(recipient: str):
    raw = mailed(plain("Hej", "Å.\n"), Envelope(ENVELOPE.delivery, recipient))
    check(raw, recipient)
    # As it is (RFC 6532), not encoded; the domain in ASCII.
    assert f"To: {on_the_wire(recipient)}\r\n".encode() in raw


def test_a_mail_has_a_largest_size():
    with pytest.raises(Rejected) as refusal:
        mailed(plain("Hello", "x" * 40_000_000))
    assert refusal.value.code == "too-large"


# Whatever is handed in


def _slots() -> Iterator[tuple[str, str]]:
    yield from ((t, p) for t in sorted(TEMPLATES) for p in PARAMS)
    yield from ((ALERTS, p) for p in ALERT)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_no_parameter_adds_a_header(injection: str):
    refusals: list[Rejected] = []
    written = 0
    for template, name in _slots():
        params = (ALERT if template == ALERTS else PARAMS) | {name: INJECTIONS[injection]}
        try:
            written_ = write(template, "en", params)
        except Rejected as refusal:
            refusals.append(refusal)
            continue
        if (raw := sealed(written_)) is not None:
            check(raw)
            written += 1
    assert {refusal.code for refusal in refusals} <= {"header-injection", "unfit-parameter"}
    assert "evil" not in str(refusals)
    assert written  # a parameter that is not in the subject may say anything


@pytest.mark.parametrize("injection", [*list(INJECTIONS)[:19], "very long", "very long and 8-bit"])
def test_a_parameter_that_would_break_the_subject_is_refused_before_it_is_sealed(injection: str):
    with pytest.raises(Rejected) as refusal:
        write("news", "en", {**PARAMS, "title": INJECTIONS[injection]})
    assert refusal.value.code in ("header-injection", "unfit-parameter")


@pytest.mark.parametrize("injection", INJECTIONS)
def test_no_label_of_an_alert_adds_a_header(injection: str):
    text = INJECTIONS[injection]
    try:
        raw = sealed(write(ALERTS, "en", labelled([[text, text]])))
    except Rejected:
        return
    if raw is not None:
        check(raw)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_no_subject_adds_a_header(injection: str):
    raw = sealed(plain(INJECTIONS[injection], "Body.\n"))
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
        raw = sealed(plain("Hello", "Body.\n"), recipient=address)
        if raw is not None:
            check(raw, address)
        try:
            spelt = normal(address)
        except Rejected:
            continue
        assert spelt.isprintable()
        assert not set(spelt) & set(' ,;<>()"\\:')
        assert spelt.count("@") == 1
        if (raw := sealed(plain("Hello", "Body.\n"), recipient=spelt)) is not None:
            check(raw, spelt)


@given(st.text(), st.text(), st.text())
def test_no_text_at_all_adds_a_header(title: str, text: str, recipient: str):
    try:
        written = write("news", "sv", {"title": title, "text": text})
    except Rejected:
        return
    raw = sealed(written)
    if raw is not None:
        check(raw)
    raw = sealed(written, recipient=recipient)
    if raw is not None:
        check(raw, recipient)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Co", "Zl", "Zp"])))
def test_the_body_arrives_as_it_was_written(text: str):
    mail = check(mailed(plain("Hello", f"{text}\n")))
    assert text_of(mail) == f"{text}\n"


# What is refused


@pytest.mark.parametrize("template", ["", "..", "../app", "news.en", "NEWS", "news\x00", "ö" * 200])
def test_a_template_that_does_not_exist_is_refused(template: str):
    with pytest.raises(Rejected) as refusal:
        write(template, "en", PARAMS)
    assert refusal.value.code == "unknown-template"


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_a_missing_parameter_is_refused(template: str):
    with pytest.raises(Rejected) as refusal:
        write(template, "en", {})
    assert refusal.value.code == "missing-parameter"


@pytest.mark.parametrize("labels", [7, "text", [1], [["a", "b", "c"]], {"a": "b"}])
def test_an_unfit_parameter_is_refused(labels: object):
    with pytest.raises(Rejected) as refusal:
        write(ALERTS, "en", labelled(labels))
    assert refusal.value.code == "unfit-parameter"


def test_an_unknown_parameter_is_refused():
    version = SHIPPED.newest("news")
    with pytest.raises(Rejected) as refusal:
        version.check({"title": "x", "text": "y", "txet": "z"})
    assert refusal.value.code == "unknown-parameter"
    assert "txet" not in str(refusal.value)


@pytest.mark.parametrize(
    "params", [{"text": 7}, {"text": ""}, {"link": "javascript:alert(1)"}, {"title": "x" * 201}]
)
def test_a_parameter_of_another_shape_is_refused(params: dict[str, Any]):
    version = SHIPPED.newest("news")
    with pytest.raises(Rejected) as refusal:
        version.check({"title": "x", "text": "y", **params})
    assert refusal.value.code == "unfit-parameter"
    [name] = params
    assert name in str(refusal.value)
