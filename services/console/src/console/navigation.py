"""The pages there are and who sees which of them; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.web.access import EVERYBODY, PERSONAL, Role


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of the menu."""

    name: str
    path: str
    title: str
    roles: frozenset[Role]


_VIEWER: Final[frozenset[Role]] = frozenset({"viewer"})
_APPROVER: Final[frozenset[Role]] = frozenset({"approver"})
_OPERATOR: Final[frozenset[Role]] = frozenset({"operator"})
_AUDITOR: Final[frozenset[Role]] = frozenset({"auditor"})

OVERVIEW: Final = Place("overview", "/", "Overview", EVERYBODY)
DEADLINES: Final = Place("deadlines", "/deadlines", "Deadlines", PERSONAL | _APPROVER | _VIEWER)
POLICIES: Final = Place("policies", "/policies", "Policies", EVERYBODY)
PURGES: Final = Place("purges", "/purges", "Purges", EVERYBODY)
HOLDS: Final = Place("holds", "/holds", "Holds", PERSONAL | _APPROVER)
RIGHTS: Final = Place("rights", "/rights", "Rights requests", PERSONAL | _APPROVER)
LOG: Final = Place("log", "/log", "Master log", PERSONAL)
CHECKPOINTS: Final = Place("checkpoints", "/log/checkpoints", "Checkpoints", EVERYBODY)
NOTIFICATIONS: Final = Place(
    "notifications", "/notifications", "Notifications", PERSONAL | _OPERATOR
)
REPORTS: Final = Place("reports", "/reports", "Reports", PERSONAL | _APPROVER | _VIEWER)
OPERATIONS: Final = Place("operations", "/operations", "Operations", _OPERATOR | _AUDITOR)

MENU: Final[Sequence[tuple[str, Sequence[Place]]]] = (
    ("", (OVERVIEW,)),
    ("Keep", (DEADLINES, POLICIES, HOLDS)),
    ("Erase", (PURGES, RIGHTS)),
    ("Prove", (LOG, CHECKPOINTS, REPORTS)),
    ("Tell", (NOTIFICATIONS,)),
    ("Run", (OPERATIONS,)),
)


def menu(roles: frozenset[Role]) -> list[tuple[str, list[Place]]]:
    """Return the part of the menu that somebody in *roles* sees."""
    seen = ((title, [p for p in places if p.roles & roles]) for title, places in MENU)
    return [(title, places) for title, places in seen if places]
