"""How a request about the rights of a person goes, step by step, and its clock; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Literal

from retention.law import answer_due
from shared.errors import Rejected

Right = Literal["access", "rectify", "erase", "restrict", "object", "portability"]

State = Literal[
    "received", "identity", "collecting", "open", "decided", "approved", "answered", "closed",
    "withdrawn", "refused",
]  # fmt: skip
"""How far a case is.

- ``identity``: the person was asked for proof of who they are, and the clock stands still.
- ``collecting``: holders were asked for the data, and not all have answered.
- ``open``: somebody is to decide.
- ``approved``: it is being carried out; the answer follows.
- ``answered``: the answer was sent; a copy can be fetched, or a restriction stands.
- ``closed``, ``withdrawn``, ``refused``: it is over; refused for want of an identity.
"""

Step = Literal[
    "ask-identity", "confirm-identity", "refuse-identity", "collected", "decide", "return",
    "approve", "answer", "close", "withdraw",
]  # fmt: skip

STEPS: Final[Mapping[Step, Mapping[State, State]]] = {
    "ask-identity": {"received": "identity"},
    "confirm-identity": {"received": "collecting", "identity": "collecting"},
    # Nobody is refused for want of proof who was not asked for it: GDPR article 12(6).
    "refuse-identity": {"identity": "refused"},
    "collected": {"collecting": "open"},
    "decide": {"open": "decided"},
    "return": {"decided": "open"},
    "approve": {"decided": "approved"},
    "answer": {"approved": "answered"},
    "close": {"answered": "closed"},
    "withdraw": dict.fromkeys(
        ("received", "identity", "collecting", "open", "decided"), "withdrawn"
    ),
}  # fmt: skip

UNANSWERED: Final[tuple[State, ...]] = (
    "received", "identity", "collecting", "open", "decided", "approved",
)  # fmt: skip
"""States in which the clock of a case counts."""

OVER: Final[tuple[State, ...]] = ("closed", "withdrawn", "refused")

WARN_DAYS: Final = (1, 3, 7, 14)
"""So many days before the answer is due somebody is told, each time anew."""

CRITICAL_DAYS: Final = 3

_COPIES: Final = ("access", "portability")


def copies(right: Right) -> bool:
    """Return whether a request is for a copy of the data."""
    return right in _COPIES


def after(state: State, step: Step) -> State:
    """Return the state that *step* leads to.

    Raises:
        Rejected: a case in *state* cannot take it.
    """
    reached = STEPS[step].get(state)
    if reached is None:
        raise Rejected(f"a case that is {state} cannot take the step {step}", code="wrong-step")
    return reached


@dataclass(frozen=True, slots=True)
class Clock:
    """Until when a request is to be answered.

    Attributes:
        received_on: The day of receipt, which does not count.
        asked_on: When the person was asked for proof of who they are.
        shown_on: When the proof came.
        extended_on: When the person was told that it takes two months more.
    """

    received_on: date
    asked_on: date | None = None
    shown_on: date | None = None
    extended_on: date | None = None

    @property
    def stands_still(self) -> bool:
        """Whether proof of identity is waited for, and was asked for in time."""
        return self._asked_in_time is not None and self.shown_on is None

    @property
    def waited(self) -> int:
        """The days from asking for proof to its coming; what is asked too late gains nothing."""
        asked, shown = self._asked_in_time, self.shown_on
        return 0 if asked is None or shown is None else (shown - asked).days

    @property
    def due(self) -> date | None:
        """The last day to answer on; None while the clock stands still.

        Source: GDPR article 12(3) and 12(6); EDPB guidelines 01/2022 on suspension.
        """
        if self.stands_still:
            return None
        months = 1 if self.extended_on is None else 3
        return answer_due(self.received_on, months=months, waited=self.waited)

    @property
    def _asked_in_time(self) -> date | None:
        if self.asked_on is None or self.asked_on > self._first_due(0):
            return None
        return self.asked_on

    def _first_due(self, waited: int) -> date:
        return answer_due(self.received_on, waited=waited)

    def asked(self, day: date) -> "Clock":
        """Return the clock once the person was asked for proof of who they are.

        Raises:
            Rejected: *day* is before receipt, or they were asked before.
        """
        if self.asked_on is not None or day < self.received_on:
            raise Rejected("proof is asked for once, after the request came", code="wrong-day")
        return replace(self, asked_on=day)

    def shown(self, day: date) -> "Clock":
        """Return the clock once the proof came, or was never in need.

        Raises:
            Rejected: *day* is before the proof was asked for.
        """
        if self.asked_on is None:
            return self
        if day < self.asked_on:
            raise Rejected("proof comes after it was asked for", code="wrong-day")
        return replace(self, shown_on=day)

    def extended(self, day: date) -> "Clock":
        """Return the clock once the person was told on *day* that it takes longer.

        Raises:
            Rejected: they were told so before, or the first month is over.
        """
        if self.extended_on is not None:
            raise Rejected("a request is extended once", code="extended-before")
        if day < self.received_on or (not self.stands_still and day > self._first_due(self.waited)):
            text = "the person must be told within the first month"
            raise Rejected(text, code="too-late")
        return replace(self, extended_on=day)

    def warning(self, today: date) -> int | None:
        """Return which of :data:`WARN_DAYS` the answer is within; 0 if it is late, else None."""
        if self.due is None:
            return None
        left = (self.due - today).days
        if left < 0:
            return 0
        return next((days for days in WARN_DAYS if left <= days), None)
