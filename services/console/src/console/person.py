"""Who looks at pages, and in which roles; pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.web.access import EVERYBODY, GROUP, Role


def our_groups(groups: Iterable[object]) -> tuple[str, ...]:
    """Return those of a person's groups that mean something to Gallra.

    >>> our_groups(["staff", "gallra-dpo", 7])
    ('gallra-dpo',)
    """
    return tuple(sorted({g for g in groups if isinstance(g, str) and g.startswith(GROUP)}))


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in.

    Attributes:
        sub: The provider's name for the person, which stays the same.
    """

    sub: str
    name: str
    groups: tuple[str, ...]

    @property
    def roles(self) -> frozenset[Role]:
        """The roles that the groups give."""
        return frozenset(role for role in EVERYBODY if f"{GROUP}{role}" in self.groups)
