"""The versions of each policy that were put in force, one after another; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from retention.policy import Policy, terms_json
from shared.errors import Rejected


@dataclass(frozen=True)
class History:
    """All versions of each category's policy, oldest first."""

    versions: Mapping[str, tuple[Policy, ...]]

    @classmethod
    def of(cls, policies: Iterable[Policy]) -> "History":
        """Return the history that *policies* make, in any order."""
        ordered = sorted(policies, key=lambda p: (p.category, p.version))
        by_category = groupby(ordered, key=lambda p: p.category)
        return cls({category: tuple(versions) for category, versions in by_category})

    @cached_property
    def newest(self) -> Mapping[str, Policy]:
        """The newest version of each category's policy."""
        return {category: versions[-1] for category, versions in self.versions.items()}

    def policy(self, category: str) -> Policy:
        """Return the newest policy for a category.

        Raises:
            Rejected: there is none, or it says that such data is never stored.
        """
        policy = self.newest.get(category)
        if policy is None:
            raise Rejected("no policy covers this category", code="unknown-category")
        if not policy.stored:
            raise Rejected("data of this category is never stored", code="never-stored")
        return policy

    def terms(self, category: str) -> tuple[Policy, ...]:
        """Return the versions that say until when a record is kept.

        Raises:
            Rejected: there is none, or such data is never stored.
        """
        if category not in self.stored:
            self.policy(category)
        return self._stored[category]

    def rule(self, category: str, number: int) -> Mapping[str, Any]:
        """Return the rule of one version, as JSON; of one that was never kept here, nothing."""
        for policy in self.versions.get(category, ()):
            if policy.version == number:
                return policy.rule.model_dump(mode="json")
        return {}

    def action(self, category: str, number: int) -> str:
        """Return what one version that is in force says is done to a record."""
        return next(p.action for p in self.versions[category] if p.version == number)

    def holders(self, category: str) -> frozenset[str]:
        """Return who holds a category, or did under an earlier version.

        Raises:
            Rejected: there is no such category.
        """
        self.policy(category)
        return self._holders[category]

    @cached_property
    def _holders(self) -> Mapping[str, frozenset[str]]:
        return {
            of: frozenset(holder for policy in versions for holder in policy.holders)
            for of, versions in self._stored.items()
        }

    @cached_property
    def _stored(self) -> Mapping[str, tuple[Policy, ...]]:
        return {of: tuple(p for p in found if p.stored) for of, found in self.versions.items()}

    @cached_property
    def stored(self) -> frozenset[str]:
        """Categories of which there are records."""
        return frozenset(category for category, policy in self.newest.items() if policy.stored)

    @cached_property
    def as_json(self) -> Mapping[str, list[dict[str, Any]]]:
        """What each version of each category that is stored says about time, as JSON."""
        return {c: [terms_json(p) for p in self.terms(c)] for c in self.stored}
