"""The dialogue with relays that are slow, rude, forgetful or gone."""

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.integration.relays import CLOSE, STALL, BadRelay, Behaviour

from notifier.smtp import Answer, Connection, Outgoing, RelayAwayError

PIPELINED = ("PIPELINING", "SIZE 1000000", "DSN", "SMTPUTF8")
PLAIN = ("SIZE 1000000",)


def mail(number: int, **changes: str | bytes) -> Outgoing:
    made = Outgoing(
        f"b+{number}@provider.example",
        f"ops{number}@customer.example",
        str(number),
        f"Subject: {number}\r\n\r\n.a dot\r\n..two\r\nÅ\r\n".encode(),
    )
    return replace(made, **changes)  # pyright: ignore[reportArgumentType]


@pytest.fixture(params=[PIPELINED, PLAIN], ids=["pipelined", "step by step"])
async def bad(request: pytest.FixtureRequest) -> AsyncIterator[BadRelay]:
    async with BadRelay(offers=request.param).running() as relay:
        yield relay


async def send(bad: BadRelay, *mails: Outgoing) -> list[Answer]:
    async with Connection(bad.relay) as connection:
        await connection.open()
        return await connection.hand_over(mails)


def verdicts(answers: list[Answer]) -> list[str]:
    return [answer.verdict for answer in answers]


async def test_every_mail_arrives_as_it_was_written(bad: BadRelay) -> None:
    mails = [mail(n) for n in range(20)]
    async with Connection(bad.relay) as connection:
        await connection.open()
        answers = await connection.hand_over(mails[:7]) + await connection.hand_over(mails[7:])
    assert verdicts(answers) == ["accepted"] * 20
    assert [(r.sender, r.recipient, r.content) for r in bad.taken] == [
        (m.return_path, m.recipient, m.content) for m in mails
    ]
    assert bad.connections == 1
    assert answers[0].reply is not None
    assert answers[0].reply.text == "2.0.0 queued as 4711"


async def test_pipelining_is_used_where_it_is_offered_and_only_there(bad: BadRelay) -> None:
    await send(bad, mail(1), mail(2))
    assert (bad.together > 1) == ("PIPELINING" in bad.offers)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "taken"])
@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (b"451 4.3.0 later\r\n", "deferred"),
        (b"450 greylisted\r\n", "deferred"),
        (b"552 5.2.2 mailbox full\r\n", "deferred"),
        (b"554 4.7.1 try again\r\n", "deferred"),
        (b"550 5.1.1 no such user\r\n", "bounced"),
        (b"550-5.7.1 you are\r\n550 5.7.1 not welcome\r\n", "bounced"),
        (b"554 no\r\n", "bounced"),
    ],
)
async def test_a_refusal_is_that_of_one_mail(
    bad: BadRelay, verb: str, said: bytes, verdict: str
) -> None:
    if verb in ("RCPT", "taken"):
        bad.says["ops2@customer.example" if verb == "RCPT" else "taken ops2@customer.example"] = (
            said
        )
        answers = await send(bad, mail(1), mail(2), mail(3))
        assert verdicts(answers) == ["accepted", verdict, "accepted"]
        assert [r.recipient for r in bad.taken] == [
            "ops1@customer.example",
            "ops3@customer.example",
        ]
    else:
        bad.says[verb] = said
        answers = await send(bad, mail(1), mail(2))
        assert verdicts(answers) == [verdict, verdict]
    assert bad.connections == 1


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("behaviour", [STALL, CLOSE, b"what?\r\n", b"x" * 100_000, b"\xff\r\n"])
async def test_before_the_content_nothing_is_in_doubt(
    bad: BadRelay, verb: str, behaviour: Behaviour
) -> None:
    bad.says[verb] = behaviour
    assert verdicts(await send(bad, mail(1), mail(2))) == ["deferred", "not-sent"]
    assert not bad.taken


@pytest.mark.parametrize("behaviour", [STALL, CLOSE, b"what?\r\n", b"354 more\r\n", b"199 hm\r\n"])
async def test_after_the_content_there_is_doubt(bad: BadRelay, behaviour: Behaviour) -> None:
    bad.says["taken ops2@customer.example"] = behaviour
    answers = await send(bad, mail(1), mail(2), mail(3))
    assert verdicts(answers) == ["accepted", "unknown", "not-sent"]


async def test_a_relay_that_closes_for_now_gets_no_more(bad: BadRelay) -> None:
    bad.says["taken ops2@customer.example"] = b"421 4.3.2 shutting down\r\n"
    async with Connection(bad.relay) as connection:
        await connection.open()
        answers = await connection.hand_over([mail(1), mail(2), mail(3)])
        assert verdicts(answers) == ["accepted", "deferred", "not-sent"]
        assert not connection.stands


async def test_a_content_that_is_wanted_after_all_is_empty(bad: BadRelay) -> None:
    bad.says |= {"ops1@customer.example": b"550 5.1.1 no\r\n", "DATA": b"354 go on\r\n"}
    assert verdicts(await send(bad, mail(1), mail(2))) == ["bounced", "accepted"]
    assert [r.recipient for r in bad.taken] == ["ops2@customer.example"]


@pytest.mark.parametrize("step", ["greeting", "EHLO"])
@pytest.mark.parametrize("behaviour", [STALL, CLOSE, b"554 go away\r\n", b"HTTP/1.1 200 OK\r\n"])
async def test_a_relay_that_is_none_is_away(bad: BadRelay, step: str, behaviour: Behaviour) -> None:
    bad.says[step] = behaviour
    with pytest.raises(RelayAwayError, match=step):
        await send(bad, mail(1))
    assert not bad.taken


async def test_nobody_listens() -> None:
    with pytest.raises(RelayAwayError, match="connecting"):
        await send(BadRelay(port=1), mail(1))


async def test_the_words_of_a_refusal_name_no_address(bad: BadRelay) -> None:
    bad.says["ops1@customer.example"] = b"550 5.1.1 <ops1@customer.example>: OPS1 is unknown\r\n"
    [answer] = await send(bad, mail(1))
    assert answer.reply is not None
    assert answer.reply.text == "5.1.1 (address) (address) is unknown"
    assert answer.reply.bad_address


async def test_addresses_beyond_ascii_need_the_relay_to_take_them(bad: BadRelay) -> None:
    answers = await send(bad, mail(1), mail(2, recipient="åsa@x.example"), mail(3))
    taken = "SMTPUTF8" in bad.offers
    assert verdicts(answers) == ["accepted", "accepted" if taken else "bounced", "accepted"]
    if taken:
        assert any(" SMTPUTF8" in line for line in bad.commands if "b+2@" in line)


async def test_a_bounce_will_find_its_delivery() -> None:
    async with BadRelay().running() as bad:
        await send(bad, mail(1))
        lines = " ".join(bad.commands)
    assert "RET=HDRS ENVID=1" in lines
    assert "NOTIFY=FAILURE,DELAY" in lines
    assert "MAIL FROM:<b+1@provider.example> SIZE=" in lines


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this host, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(__import__("ipaddress").ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    place = tmp_path_factory.mktemp("tls") / "relay.pem"
    place.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return place


async def secret(bad: BadRelay, trusted: Path | None) -> list[Answer]:
    context = ssl.create_default_context(cafile=trusted)
    relay = replace(bad.relay, tls=context, user="us", password="pass")  # noqa: S106
    async with Connection(relay) as connection:
        await connection.open()
        return await connection.hand_over([mail(1)])


async def test_what_is_said_in_secret(certificate: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with BadRelay(offers=("STARTTLS", *PIPELINED), tls=tls).running() as bad:
        assert verdicts(await secret(bad, certificate)) == ["accepted"]
        verbs = [line.split(" ")[0] for line in bad.commands]
        assert verbs == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "DATA"]
        with pytest.raises(RelayAwayError, match="STARTTLS"):
            await secret(bad, None)  # nobody vouches for the certificate


async def test_without_secrecy_nothing_is_said(certificate: Path) -> None:
    async with BadRelay(offers=PIPELINED).running() as bad:
        with pytest.raises(RelayAwayError, match="does not offer"):
            await secret(bad, certificate)
        bad.offers = ("STARTTLS",)
        bad.says["STARTTLS"] = b"220 go\r\n250 injected before the hand-shake\r\n"
        with pytest.raises(RelayAwayError, match="STARTTLS"):
            await secret(bad, certificate)
        assert not {"AUTH", "MAIL"} & {line.split(" ")[0] for line in bad.commands}
