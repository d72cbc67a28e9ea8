"""Tells people what needs them: hears of alerts, and looks each second what is due to whom.

What is due follows from the state alone (:mod:`notifier.alerting`).  The state after a look, the
mails that are planned and what is to be passed on commit together: killed at any point, the next
look finds what this one found, and nothing is told twice or not at all.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from notifier import alert_store, alert_words, tokens
from notifier.alert_policy import PATH_SILENT, WEBHOOK, Matchers, Policy, fit
from notifier.alerting import (
    Alert,
    Explanations,
    Notice,
    Said,
    Silence,
    State,
    acknowledged,
    group_of,
    heard,
    step,
)
from notifier.audience import Candidate, named
from notifier.planning import Planner
from notifier.recipients import token_of
from shared import logs
from shared.errors import Rejected
from shared.events.gallra import (
    AlertAcknowledged,
    AlertRaised,
    AlertResolved,
    SilenceEnded,
    SilencePlaced,
)
from shared.ids import new_id
from shared.postgres import Connection, Pool, sole, transaction

ALERT: Final = "ops-alert"
PROBE: Final = "alert-path/probe"
"""The fingerprint of what is sent the whole way to see that it is open; it is no alert."""
_HOUR: Final = timedelta(hours=1)
_BEAT: Final = timedelta(minutes=1)
_LONGEST: Final = 200  # characters of a name
_LONGEST_REASON: Final = 1000
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class OnCall:
    """The alert engine of one notifier.

    Attributes:
        address_key: Of the HMAC by which addresses are found again, and links recognised.
        links: Where links in mails lead.
        addresses: Of receivers that have none of their own.
        since: When this process began: before that it could hear nothing.
        webhook: Alerts are passed on as well.
    """

    policy: Policy
    planner: Planner
    address_key: bytes
    links: str
    addresses: Sequence[str]
    since: datetime
    webhook: bool = False

    # --- what comes in

    async def alive(self, tx: Connection) -> None:
        """Note that events come through."""
        now = self.planner.clock.now()
        await alert_store.beat(tx, "consumer", now, now - _BEAT)

    async def take(self, tx: Connection, alert: AlertRaised, at: datetime) -> None:
        """Hear what an event says that is about the instant *at*."""
        if alert.fingerprint == PROBE:
            return
        said = Said(
            alert.fingerprint,
            alert.severity,
            alert.summary,
            alert.labels,
            alert.runbook,
            over=isinstance(alert, AlertResolved),
        )
        await self.hear(tx, said, at)

    async def hear(self, tx: Connection, said: Said, at: datetime) -> bool:
        """Keep what is *said* of an alert; return False if it is no news."""
        now = self.planner.clock.now()
        known = await alert_store.alert(tx, said.fingerprint)
        if known is None:
            new = heard(None, said, at, now)
            if new is not None and await alert_store.add(tx, new):
                return True
            known = await alert_store.alert(tx, said.fingerprint)  # somebody was faster
        after = heard(known, said, at, now)
        if after is not None:
            await alert_store.put(tx, after)
        return after is not None

    # --- what goes out

    async def look(self, pool: Pool) -> None:
        """Plan every mail that is due; one process at a time does."""
        async with transaction(pool) as tx:
            if not await sole(tx, "alerts"):
                return
            now = self.planner.clock.now()
            state = await alert_store.state(tx, now, now - _HOUR)
            if await self._watch_the_path(tx, state, now):
                state = await alert_store.state(tx, now, now - _HOUR)
            outcome = step(self.policy, state, now, webhook=self.webhook)
            for notice in outcome.notices:
                await self._tell(tx, notice, now)
            await alert_store.put_tracks(tx, outcome.tracks)
            await alert_store.looked_at(tx, outcome.looked_at)
            await alert_store.end(tx, outcome.ended, now)

    async def _tell(self, tx: Connection, notice: Notice, now: datetime) -> None:
        if notice.receiver == WEBHOOK:
            body = json.dumps(alert_words.as_webhook(notice, self.links))
            await alert_store.add_notice(tx, notice, "webhook", now, body)
            return
        await alert_store.add_notice(tx, notice, "mail", now)
        token = tokens.sign(self.address_key, "acknowledge", notice.id.encode())
        said = alert_words.params(
            notice, now, link=f"{self.links}/a/{token}", runbooks=self.policy.runbooks
        )
        people = await self._people(tx, notice.receiver)
        try:
            await self._write(tx, notice, said, people)
        except Rejected as error:  # what an alert says must not keep it from being told
            _log.warning("a mail says less than its alerts", notice=notice.id, code=error.code)
            await self._write(tx, notice, alert_words.in_short(notice.standing), people)

    async def _write(
        self, tx: Connection, notice: Notice, said: Mapping[str, Any], people: Sequence[Candidate]
    ) -> None:
        message = self.planner.message(notice.id, ALERT, said)
        await self.planner.write_to(tx, None, replace(message, thread=notice.thread), people)

    async def _people(self, tx: Connection, name: str) -> list[Candidate]:
        receiver = self.policy.receivers[name]
        found = [
            await token_of(tx, self.address_key, address)
            for address in sorted(receiver.addresses or self.addresses)
        ]
        return [named(token, receiver.locale) for token in dict.fromkeys(found)]

    # --- whether alerts get through

    async def _watch_the_path(self, tx: Connection, state: State, now: datetime) -> bool:
        """Raise an alert if alerts do not get through, end it if they do; True if either."""
        path = self.policy.path
        if path is None:
            return False
        pulses = await alert_store.pulses(tx)
        came = max(pulses.get("consumer", self.since), self.since)
        asked = max(pulses.get("probe", self.since), self.since)
        if now - max(came, asked) >= path.probe_every:
            await alert_store.beat(tx, "probe", now, now)
            probe = AlertResolved(
                fingerprint=PROBE, severity="info", summary="a sign of life of the alert path"
            )
            await self.planner.outbox.announce(tx, now, [probe])
        before = now - path.silent_after
        priority = self.planner.types[ALERT].priority
        silent = {
            "consumer": came <= before,
            "sender": self.since <= before
            and await alert_store.unsent_since(tx, ALERT, priority, before),
        }
        stands = {alert.fingerprint for alert in state.alerts if alert.stands}
        changed = [
            (part, is_silent)
            for part, is_silent in silent.items()
            if is_silent != (f"{PATH_SILENT}/{part}" in stands)
        ]
        for part, is_silent in changed:
            alert = _silence_of(part, is_silent=is_silent)
            await self.take(tx, alert, now)
            await self.planner.outbox.announce(tx, now, [alert])
        return bool(changed)

    # --- what people decide

    async def acknowledge(
        self,
        tx: Connection,
        fingerprints: Collection[str],
        *,
        by: str,
        told_at: datetime | None = None,
    ) -> list[Alert]:
        """Note that *by* looks after alerts; return those that stand and so are looked after.

        Like a silence it is a decision, and so goes into the master log.

        Args:
            tx: The transaction.
            fingerprints: Of the alerts.
            by: Who.
            told_at: When they were told what they answer to; None for what stands now.

        Raises:
            Rejected: nobody is named.
        """
        who = _named(by, "by")
        now = self.planner.clock.now()
        until = now + self.policy.acknowledged_for
        known = await alert_store.standing_to_change(tx, fingerprints)
        found = [a for each in known if (a := acknowledged(each, who, told_at, now, until))]
        for alert in found:
            await alert_store.put(tx, alert)
        decided = [AlertAcknowledged(fingerprint=a.fingerprint, by=who, until=until) for a in found]
        await self.planner.outbox.announce(tx, now, decided)
        return found

    async def told(self, tx: Connection, token: str) -> tuple[list[Alert], datetime]:
        """Return what still stands of what a mail told, by the token in its link, and when it did.

        Raises:
            Rejected: the token is not one of ours.
        """
        notice_id = tokens.verify(self.address_key, "acknowledge", token).decode()
        found = await alert_store.told_by(tx, notice_id)
        if found is None:
            raise Rejected("nobody was told of this", code="unknown-reference")
        fingerprints, at = found
        stands = await alert_store.standing_of(tx, fingerprints)
        return [alert for alert in stands if alert.seen_at <= at], at

    async def silence(
        self,
        tx: Connection,
        matchers: Matchers,
        *,
        by: str,
        reason: str,
        starts_at: datetime | None,
        ends_at: datetime,
    ) -> Silence:
        """Silence alerts that fit all of *matchers*, from now on if *starts_at* is None.

        Raises:
            Rejected: it is for everything, too long or over already, or says not who or why.
        """
        now = self.planner.clock.now()
        begins = now if starts_at is None else max(starts_at, now)
        if not matchers or fit(matchers, {}):
            raise Rejected("it would silence alerts without any label: say more exactly which")
        if ends_at <= begins:
            raise Rejected("it would be over before it begins")
        if ends_at - begins > (longest := self.policy.silences.longest):
            raise Rejected(f"a silence lasts at most {alert_words.spoken(longest)}")
        silence = Silence(
            new_id(),
            matchers,
            _named(by, "createdBy"),
            _named(reason, "comment", _LONGEST_REASON),
            begins,
            ends_at,
        )
        await alert_store.add_silence(tx, silence, now)
        placed = SilencePlaced(
            silence_id=str(silence.id),
            matchers=tuple(map(str, matchers)),
            reason=silence.reason,
            by=silence.by,
            starts_at=begins,
            ends_at=ends_at,
        )
        await self.planner.outbox.announce(tx, now, [placed])
        return silence

    async def unsilence(self, tx: Connection, id_: UUID, *, by: str) -> bool:
        """End a silence; return False if there is none that lasts."""
        who = _named(by, "by")
        now = self.planner.clock.now()
        if not await alert_store.end_silence(tx, id_, who, now):
            return False
        ended = SilenceEnded(silence_id=str(id_), by=who)
        await self.planner.outbox.announce(tx, now, [ended])
        return True

    async def overview(self, tx: Connection) -> list[dict[str, Any]]:
        """Return what stands, the gravest first, and why nobody is told of it if so."""
        now = self.planner.clock.now()
        standing = await alert_store.standing(tx)
        silences = await alert_store.silences(tx, now)
        explanations = Explanations(self.policy, standing)
        return [
            _shown(
                alert,
                self.policy,
                [s for s in silences if s.mutes(alert, self.policy, now)],
                explanations.of(alert),
                now,
            )
            for alert in sorted(standing, key=lambda a: (a.raised_at, a.fingerprint))
        ]


def _shown(
    alert: Alert,
    policy: Policy,
    silences: Sequence[Silence],
    inhibited_by: Sequence[str],
    now: datetime,
) -> dict[str, Any]:
    group, labels, way = group_of(policy, alert)
    ack = alert.acknowledged if alert.answered(now) else None
    return {
        "fingerprint": alert.fingerprint,
        "severity": alert.severity,
        "summary": alert.summary,
        "labels": alert.all_labels,
        "runbook": alert.runbook,
        "raised_at": alert.raised_at,
        "group": {"id": group, "labels": labels, "receivers": way.receivers},
        "acknowledged": ack and {"by": ack.by, "at": ack.at, "until": ack.until},
        "silenced_by": [str(silence.id) for silence in silences],
        "inhibited_by": inhibited_by,
    }


def _silence_of(part: str, *, is_silent: bool) -> AlertRaised:
    kind = AlertRaised if is_silent else AlertResolved
    trouble = {
        "consumer": "no event has come through for too long: alerts may not be heard",
        "sender": "mails about alerts wait and nobody sends them",
    }
    return kind(
        fingerprint=f"{PATH_SILENT}/{part}",
        severity="critical",
        summary=trouble[part],
        labels={"part": part},
        runbook=PATH_SILENT,
    )


def _named(text: str, field: str, longest: int = _LONGEST) -> str:
    """Return what a person wrote, on one line.

    Raises:
        Rejected: it is empty or too long.
    """
    said = alert_words.plain(text, longest + 2)
    if not said or len(text) > longest:
        raise Rejected(f"{field} must say something, in at most {longest} characters")
    return said
