"""What a person who claims a right is told about each category of data, and why; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from typing import Final, Literal

from retention.explanation import Phrase, say
from retention.policy import Answer, Policy
from retention.rights_rules import Right, copies
from shared.errors import Rejected

Verdict = Literal["granted", "partly", "refused", "no_data", "cannot_identify"]

ARTICLES: Final[Mapping[Right, str]] = {
    "access": "15(1)",
    "rectify": "16",
    "erase": "17(1)",
    "restrict": "18(1)",
    "object": "21(1)",
    "portability": "20(1)",
}
"""Of the GDPR, that gives each right."""

_HOLD: Final = "17(3)(e)"

Kept = Literal["hold", "law", "service", "policy"]
"""What keeps a record although its erasure is asked for."""


@dataclass(frozen=True, slots=True)
class Held:
    """A record that tells of the person.

    Attributes:
        status: Of its deadline: ``scheduled``, ``open`` or ``indeterminate``.
        floor: Last day of the statutory minimum, if it is known.
        held: A legal hold covers it.
    """

    id: int
    holder: str
    category: str
    record_id: str
    status: str
    keep_through: date | None = None
    statutory: bool = False
    floor: date | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said of one category.

    Attributes:
        article: Of the GDPR, unless it names another law.
        reason: In English; what is not in other languages stays as it was written.
        records: How many records tell of the person.
        until_first: Where something is refused until a day: the first such day of any record.
        until_last: The last one.
        bound: A law or a hold refuses it: nobody may grant more.
        by_hand: A person decided otherwise than was proposed.
    """

    category: str
    decision: Verdict
    article: str
    reason: str
    records: int = 0
    until_first: date | None = None
    until_last: date | None = None
    bound: bool = False
    by_hand: bool = False

    @property
    def grants(self) -> bool:
        """Whether anything is done as it was asked for."""
        return self.decision in {"granted", "partly"}


def propose(
    policies: Iterable[Policy], records: Iterable[Held], right: Right, today: date
) -> list[Decision]:
    """Return what each policy answers to *right*, in view of the records of the person."""
    ordered = sorted(records, key=lambda record: record.category)
    held = {c: list(found) for c, found in groupby(ordered, lambda record: record.category)}
    return [
        _decide(policy, held.get(policy.category, ()), right, today)
        for policy in sorted(policies, key=lambda policy: policy.category)
    ]


def _decide(policy: Policy, records: Sequence[Held], right: Right, today: date) -> Decision:
    answer: Answer = getattr(policy.rights, right)
    told = Decision(policy.category, answer.answer, answer.article, answer.reason, len(records))
    if not records:
        if answer.answer in {"no_data", "cannot_identify"}:
            return told
        return _other(told, "no_data", right, say("No such data about the person is held."))
    if answer.answer in {"no_data", "cannot_identify"}:
        found = say("It was found by what the person gave to find it by.")
        told = _other(told, "granted", right, found)
    return _erasure(told, records, today) if right == "erase" else told


def _other(told: Decision, decision: Verdict, right: Right, reason: Phrase) -> Decision:
    return replace(told, decision=decision, article=ARTICLES[right], reason=reason.english)


def _erasure(told: Decision, records: Sequence[Held], today: date) -> Decision:
    by_record: list[Kept | None] = [kept_by(r, told.decision, today) for r in records]
    kept = [(r, by) for r, by in zip(records, by_record, strict=True) if by is not None]
    causes = {by for _, by in kept}
    if not kept:
        if told.decision == "refused":
            return _other(told, "granted", "erase", say("Nothing keeps it any longer."))
        article = told.article if told.decision == "granted" else ARTICLES["erase"]
        return replace(told, decision="granted", article=article)
    days = [day for record, by in kept if (day := _until(record, by)) is not None]
    decided = replace(
        told,
        decision="refused" if len(kept) == len(records) else "partly",
        until_first=min(days, default=None),
        until_last=max(days, default=None),
        bound=bool(causes & {"hold", "law"}),
    )
    if "hold" in causes and told.decision != "refused":
        reason = say("It is needed for a legal claim; it is erased when that is settled.")
        return replace(decided, article=_HOLD, reason=reason.english)
    return decided


def kept_by(record: Held, answer: Verdict, today: date) -> Kept | None:
    """Return what keeps a record from being erased today; *answer* is what its policy says."""
    if record.held:
        return "hold"
    if record.statutory and (record.floor is None or record.floor >= today):
        return "law"
    if needed(record, answer):
        return "service"
    if answer == "refused" and not (record.keep_through and record.keep_through < today):
        return "policy"
    return None


def needed(record: Held, answer: Verdict) -> bool:
    """Return whether a record is not erased before the services end that need it."""
    return answer != "granted" and record.status == "open" and not record.statutory


def _until(record: Held, kept: str) -> date | None:
    return {"law": record.floor, "policy": record.keep_through}.get(kept)


def decide(proposed: Sequence[Decision], chosen: Iterable[Decision]) -> list[Decision]:
    """Return what was *proposed*, with what people have *chosen* in the place of some of it.

    Raises:
        Rejected: they chose for a category without data, or grant what a law or a hold keeps.
    """
    by_category = {decision.category: decision for decision in proposed}
    for choice in chosen:
        known = by_category.get(choice.category)
        if known is None or not known.records:
            text = f"there is nothing to decide about {choice.category}"
            raise Rejected(text, code="nothing-to-decide")
        if known.bound and choice.grants:
            text = f"a law or a hold keeps {choice.category}: nobody can grant its erasure"
            raise Rejected(text, code="kept-by-law")
        days = (
            {}
            if choice.grants
            else {"until_first": known.until_first, "until_last": known.until_last}
        )
        by_category[choice.category] = replace(
            choice, records=known.records, bound=known.bound, by_hand=True, **days
        )  # fmt: skip
    return [by_category[decision.category] for decision in proposed]


def four_eyes(right: Right, decisions: Iterable[Decision]) -> bool:
    """Return whether another person must approve: data goes out, or is erased, now or later."""
    concerned = [d for d in decisions if d.records]
    if right == "erase":
        return any(d.grants or not d.by_hand for d in concerned)
    return copies(right) and any(d.grants for d in concerned)


def marketing(policies: Iterable[Policy]) -> frozenset[str]:
    """Return the categories to whose use for marketing an objection is absolute."""
    return frozenset(p.category for p in policies if "(2)" in p.rights.object.article)
