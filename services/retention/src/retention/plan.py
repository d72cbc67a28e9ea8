"""What a change of policies would do to the records there are, and whether it may; pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from retention.calendar import day_after
from retention.policy import Policy
from shared.canonical import canonical, digest


@dataclass(frozen=True, slots=True)
class Dates:
    """When the records of a deadline key must go.

    Attributes:
        keep_through: None while that is not known.
        floor: Last day of the statutory minimum, if there is one and it is known.
    """

    keep_through: date | None
    floor: date | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """Records that share their dates, before a change and after it.

    Attributes:
        key: The id of the deadline key they have before.
        records: How many, by holder.
    """

    key: int
    category: str
    records: Mapping[str, int]
    before: Dates
    after: Dates

    @property
    def moved(self) -> bool:
        """Whether the change concerns them."""
        return self.before.keep_through != self.after.keep_through

    @property
    def earlier(self) -> bool:
        """Whether they would go sooner; what was to be kept for an unknown time would."""
        before, after = self.before.keep_through, self.after.keep_through
        return self.moved and after is not None and (before is None or after < before)

    @property
    def below_statute(self) -> bool:
        """Whether they would go before the law allows it."""
        floor, after = self.before.floor, self.after.keep_through
        return self.moved and floor is not None and after is not None and after < floor


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change does to one category; all numbers are of records.

    Attributes:
        first_purge: The first day on which a moved record may go; None if none does.
        holders: Who has records that are moved.
        held: Of those moved, under a legal hold.
        purges: Moved records by the day on which they may go, in order.
    """

    category: str
    version: int
    records: int
    moved: int
    earlier: int
    below_statute: int
    first_purge: date | None
    holders: tuple[str, ...]
    held: int
    purges: tuple[tuple[date, int], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """New versions of policies and what they do; bound by its hash.

    Attributes:
        made_on: The civil day.
        basis: The SHA-256 of what it rests on: policies in force, financial years, holds.
    """

    policies: tuple[Policy, ...]
    effects: tuple[Effect, ...]
    made_on: date
    basis: bytes

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The effects as JSON."""
        return [_plain(asdict(effect)) for effect in self.effects]

    @property
    def sha256(self) -> bytes:
        """What those who approve it agree to."""
        content = {
            "policies": [policy.model_dump(mode="json") for policy in self.policies],
            "effects": self.shown,
            "made_on": self.made_on.isoformat(),
            "basis": self.basis.hex(),
        }
        return digest(canonical(content))

    @property
    def earlier(self) -> int:
        """Records that would go sooner."""
        return sum(effect.earlier for effect in self.effects)


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    first = content["first_purge"]
    return {
        **content,
        "first_purge": first and first.isoformat(),
        "holders": list(content["holders"]),
        "purges": [[day.isoformat(), count] for day, count in content["purges"]],
    }


def effect(policy: Policy, keys: Iterable[Counted], held: int) -> Effect:
    """Return what a new version does to the records of its category."""
    counted = Counter[str]()
    holders: set[str] = set()
    days = Counter[date]()
    for key in keys:
        count = sum(key.records.values())
        counted["records"] += count
        if not key.moved:
            continue
        counted["moved"] += count
        counted["earlier"] += count * key.earlier
        counted["below_statute"] += count * key.below_statute
        holders |= key.records.keys()
        if key.after.keep_through is not None:
            days[day_after(key.after.keep_through)] += count
    return Effect(
        category=policy.category,
        version=policy.version,
        records=counted["records"],
        moved=counted["moved"],
        earlier=counted["earlier"],
        below_statute=counted["below_statute"],
        first_purge=min(days, default=None),
        holders=tuple(sorted(holders)),
        held=held,
        purges=tuple(sorted(days.items())),
    )


def changes(old: Policy, new: Policy) -> Iterator[tuple[str, str, str]]:
    """Yield each field that differs, with what it was and what it will be, as short JSON."""
    before, after = (p.model_dump(mode="json", exclude_none=True) for p in (old, new))
    for field in type(new).model_fields:
        if field != "version" and before.get(field) != after.get(field):
            was, will_be = (canonical(said.get(field)).decode() for said in (before, after))
            yield field, was, will_be


def faults(old: Policy, new: Policy, today: date) -> Iterator[str]:
    """Yield why *new* cannot follow *old*, whatever records there are."""
    name = f"{new.category}.yaml"
    if new.version != old.version + 1:
        yield f"{name}: version: {old.version} is in force: the change is version {old.version + 1}"
    if new.effective_from < today:
        yield f"{name}: effective_from: lies in the past: a change begins today at the earliest"
    if new.effective_from <= old.effective_from:
        yield f"{name}: effective_from: version {old.version} begins then: choose a later day"
    if old.statutory and not new.statutory:
        yield f"{name}: rule: the law sets a minimum here: keep the statutory rule"
    if old.log_class != new.log_class:
        yield f"{name}: log_class: never changes, for proofs rest on it: put {old.log_class} back"
    if old.stored and not new.stored:
        yield f"{name}: rule: there may be records: let them go first, by a shorter period"
    if new.existing == "keep" and not old.same_clock(new):
        yield f"{name}: clock: another one is for existing data too: set existing to apply"


def stale(shown: Plan, now: Plan, tolerated: int) -> str | None:
    """Return why a plan is outdated by what would be planned *now*; None if it is not.

    So many records as *tolerated* may have come since that would go sooner, as is usual where
    records are registered all the time.
    """
    if shown.basis != now.basis:
        return "policies, financial years or holds have changed"
    if any(policy.effective_from < now.made_on for policy in shown.policies):
        return "it was to begin before today"
    if now.earlier > shown.earlier + tolerated:
        return f"it would make {now.earlier} records go sooner, not {shown.earlier}"
    return None


def forbidden(effects: Sequence[Effect]) -> str | None:
    """Return why nobody may approve these effects, if so."""
    below = sum(effect.below_statute for effect in effects)
    return f"{below} record(s) would go before the law allows it" if below else None
