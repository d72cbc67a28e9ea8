"""The states of a delivery, and what leads from one to another; pure.

A delivery is one mail to one recipient.  ``unknown`` is a state of its own, for over SMTP a mail
whose connection broke after its content was sent may or may not have been taken (RFC 1047).
"""

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

State = Literal[
    "queued",
    "sending",
    "accepted",
    "deferred",
    "bounced",
    "complained",
    "suppressed",
    "expired",
    "unknown",
]
"""Where a delivery stands.

- ``queued``: waits for its turn, nothing was sent.
- ``sending``: the intent to send it is on record; a sender that lives is at it.
- ``accepted``: the mail server took it.
- ``deferred``: it was refused for now (a 4xx, RFC 5321 4.2.1) and is tried again.
- ``bounced``: it was refused for good, by the mail server or later by a bounce (RFC 3464).
- ``complained``: whoever got it reported it as unwanted (RFC 5965).
- ``suppressed``: it is not sent, for the reason that stands with it.
- ``expired``: it did not get through in time.
- ``unknown``: nobody can say if the mail server took it.
"""

Reason = Literal[
    "no-basis",  # an optional type, and nobody recorded why the recipient may get it
    "unsubscribed",
    "complaint",
    "hard-bounce",
    "unverified",  # nobody confirmed that the address is theirs
    "superseded",  # a later notice says what this one no longer should
    "cancelled",
    "purged",  # the address or the content went before it could be sent
    "unfit",  # no mail can be made of it, or not for this address
    "too-late",
    "given-up",
    "lost-sender",
    "lost-answer",
    "reported",  # by a bounce or complaint that came later
    "reconciled",  # with the relay's own log
]

STEPS: Final[dict[State, frozenset[State]]] = {
    "queued": frozenset({"sending", "suppressed", "expired"}),
    "sending": frozenset(
        {"queued", "accepted", "deferred", "bounced", "suppressed", "expired", "unknown"}
    ),
    "deferred": frozenset({"sending", "suppressed", "expired"}),
    "unknown": frozenset({"queued", "accepted", "bounced", "complained"}),
    "accepted": frozenset({"bounced", "complained"}),
    "bounced": frozenset(),
    "complained": frozenset(),
    "suppressed": frozenset(),
    "expired": frozenset(),
}
"""The only steps there are; the table ``delivery`` refuses all others."""

WAITING: Final[frozenset[State]] = frozenset({"queued", "deferred"})
OPEN: Final[frozenset[State]] = WAITING | frozenset[State]({"sending"})


@dataclass(frozen=True, slots=True)
class Reply:
    """What a mail server answered: its code and, if it told, its enhanced status (RFC 3463)."""

    code: int
    status: str | None = None
    text: str = ""

    @property
    def permanent(self) -> bool:
        """True if trying again is of no use.

        The enhanced status decides where there is one: some servers answer 554 with a 4.x.x.  A
        full mailbox (x.2.2), a full system (x.3.1) and one that takes no mail now (x.3.2) pass,
        whatever the first digit says.
        """
        if self.status is None:
            return self.code >= _PERMANENT
        return self.status.startswith("5") and self.status[2:] not in _PASSING

    @property
    def bad_address(self) -> bool:
        """True if there is no such mailbox, or none that takes mail (RFC 3463 3.2 and 3.3)."""
        return self.permanent and self.status is not None and self.status[2:] in _NO_MAILBOX


_PERMANENT: Final = 500
_PASSING: Final = frozenset({"2.2", "3.1", "3.2"})
_NO_MAILBOX: Final = frozenset({"1.1", "1.2", "1.3", "1.6", "1.10", "2.1"})


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long a mail is tried.

    Attributes:
        first: Pause after the first attempt; each later one is twice as long.
        longest: No pause is longer.
        attempts: After so many it is given up.
        jitter: A pause is longer by up to this share of it, so that what was refused together
            does not come back together.
    """

    first: timedelta = timedelta(minutes=1)
    longest: timedelta = timedelta(hours=4)
    attempts: int = 18
    jitter: float = 0.25

    def pause(self, attempts: int, chance: random.Random) -> timedelta:
        """Return how long to wait after *attempts* attempts.

        >>> Patience(jitter=0).pause(3, random.Random()).total_seconds()
        240.0
        """
        doubled = self.first * 2 ** min(attempts - 1, 20)
        return min(doubled, self.longest) * (1 + self.jitter * chance.random())
