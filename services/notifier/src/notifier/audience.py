"""Who of a message's audience is written to, and why others are not; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter

from notifier.catalogue import MessageType
from notifier.delivery import Reason, State
from shared.document import parse

ALL: Final = "all"
OPTIONAL: Final = "optional"
VERIFY_WITHIN: Final = timedelta(days=7)  # so long a mail waits for its address to be confirmed


@dataclass(frozen=True, slots=True)
class Suppression:
    """What is not sent to an address.

    Attributes:
        scope: A message type, ``optional`` for all that may be refused, or ``all``.
    """

    scope: str
    reason: Reason
    since: datetime


@dataclass(frozen=True, slots=True)
class Candidate:
    """A contact in one of the roles that a message goes to.

    Attributes:
        recipient: The token of the address.
        verified: Somebody confirmed that the address is theirs.
        basis_since: Since when it is on record why the contact may get an optional message.
    """

    customer_id: str | None
    recipient: str
    locale: str
    verified: bool
    basis_since: datetime | None
    suppressions: Sequence[Suppression]


def named(recipient: str, locale: str, customer_id: str | None = None) -> Candidate:
    """Return somebody who is written to by name: whoever asks for it answers for the address."""
    return Candidate(
        customer_id, recipient, locale, verified=True, basis_since=None, suppressions=()
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a delivery begins, and why if it is not on its way at once."""

    state: State
    reason: Reason | None = None


_WRITTEN_TO: Final = Verdict("queued")
_ASKED_FIRST: Final = Verdict("queued", "unverified")


def verdict(candidate: Candidate, name: str, kind: MessageType) -> Verdict:
    """Return whether a message of a type, by its *name*, is sent to a contact.

    An objection counts until a basis of a later day overrules it (GDPR Art. 21(2) and (3)); that an
    address does not exist, until the contact has another.
    """
    for suppression in candidate.suppressions:
        if concerns(suppression, name, kind):
            overruled = (
                suppression.scope != ALL
                and candidate.basis_since is not None
                and candidate.basis_since > suppression.since
            )
            if not overruled:
                return Verdict("suppressed", suppression.reason)
    if not kind.mandatory and candidate.basis_since is None:
        return Verdict("suppressed", "no-basis")
    return _WRITTEN_TO if candidate.verified else _ASKED_FIRST


def concerns(suppression: Suppression, name: str, kind: MessageType) -> bool:
    """Return whether messages of a type, by its *name*, are not sent while *suppression* stands."""
    scoped = suppression.scope in (ALL, name) or (
        suppression.scope == OPTIONAL and not kind.mandatory
    )
    return scoped and suppression.reason in kind.suppressed_by


def chosen(
    candidates: Iterable[Candidate], name: str, kind: MessageType
) -> dict[str, tuple[Candidate, Verdict]]:
    """Return who is meant at each address and the verdict: one mail, however many contacts have it.

    Where they differ, the one by which it is written to counts.
    """
    found: dict[str, tuple[Candidate, Verdict]] = {}
    for candidate in candidates:
        new = verdict(candidate, name, kind)
        old = found.get(candidate.recipient)
        if old is None or _rank(new) < _rank(old[1]):
            found[candidate.recipient] = candidate, new
    return found


def _rank(of: Verdict) -> int:
    return (of.state != "queued") * 2 + (of.reason is not None)


@dataclass(frozen=True, slots=True)
class Limit:
    """How fast mail may go to one domain.

    Attributes:
        per_minute: Mails; None for as many as there are.
        connections: So many send to it at once; None for all.
    """

    per_minute: int | None = None
    connections: int | None = None

    def spread(self, count: int) -> timedelta:
        """Return over what time *count* mails are spread."""
        return timedelta(minutes=count / self.per_minute) if self.per_minute else timedelta()


def slots(start: datetime, limit: Limit, count: int) -> list[datetime]:
    """Return when each of *count* mails to a domain may go, the first at *start*."""
    gap = limit.spread(1)
    return [start + gap * number for number in range(count)]


Limits = Mapping[str, Limit]
"""By domain in lower case; ``*`` for all others."""

_limits = TypeAdapter(dict[str, Limit])


def read_limits(text: str) -> Limits:
    """Return the limits in the YAML *text* of domains.yaml.

    Raises:
        DocumentError: a field is missing, unknown or unfit; the text says where.
    """
    return parse("domains.yaml", text, _limits)


def limit_of(limits: Limits, domain: str) -> Limit:
    """Return the limit that a domain has."""
    return limits.get(domain) or limits.get("*") or Limit()
