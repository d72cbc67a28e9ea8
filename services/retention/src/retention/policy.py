"""The privacy notice as code: one file of ``policies/`` for each category of personal data.

Everything about a file that cannot be right is an error that names file, line and field.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import Field, StrictInt, StringConstraints, TypeAdapter, model_validator

from retention.rule import Clock, Closed, NeverStored, Oss10y, Terms, Word
from shared.document import DocumentError, parse
from shared.events.model import Email

T = TypeVar("T")

CATEGORIES: Final = frozenset(
    (
        "billing.invoice", "billing.payment_hash", "billing.contact", "contact.address",
        "contact.delivery", "contact.delivery.security", "contact.message_body", "account.master",
        "logs.action", "lead.form", "event.registration", "newsletter.subscription",
        "prospect.linkedin", "cookie.cloudguide_draft", "cookie.popup", "form.spam_token",
        "stats.visitor", "rights.case", "suppression", "erasure_ledger",
    )
)  # fmt: skip
"""What the privacy notice speaks of, and what Gallra itself keeps on top of it."""

_NOT_CATEGORIES: Final = frozenset(("alerts.yaml", "domains.yaml", "holders.yaml", "messages.yaml"))

Sentence = Annotated[str, StringConstraints(min_length=1, max_length=2000, strip_whitespace=True)]


class Title(Closed):
    """What people call the category."""

    sv: Sentence
    en: Sentence


class Answer(Closed):
    """What a person who claims a right is told about this category.

    Attributes:
        article: Of the GDPR unless it names another law.
    """

    answer: Literal["granted", "partly", "refused", "no_data", "cannot_identify"]
    article: Sentence
    reason: Sentence


class Rights(Closed):
    """An answer to each right of GDPR chapter III."""

    access: Answer
    rectify: Answer
    erase: Answer
    restrict: Answer
    object: Answer
    portability: Answer


class Policy(Terms):
    """What is promised about one category of personal data, and how it is kept.

    Attributes:
        version: Raised with every change; what it was before stays in the history of the file.
        notice: The sentences of the privacy notice that this implements; None for our own data.
        period_source: Who set the period; our own proposal says why in ``period_reason``.
        clock: When the time starts; None if, and only if, the data is never stored.
        group: Whether documents of a group are kept as long as the one kept longest.
        extension_basis: The letter of GDPR article 6(1) on which a group keeps them so long.
        action: What becomes of the data when it is due.
        holders: Ids of the systems that store it.
        log_class: Public retention class of master-log entries; 0 is for what is not personal.
    """

    category: Word
    version: Annotated[StrictInt, Field(ge=1)]
    title: Title
    data_fields: Annotated[tuple[Sentence, ...], Field(min_length=1)]
    notice: Annotated[tuple[Sentence, ...], Field(min_length=1)] | None
    period_source: Literal["notice", "statute", "our proposal"]
    period_reason: Sentence | None = None
    legal_basis: Annotated[tuple[Sentence, ...], Field(min_length=1)]
    sources: tuple[Sentence, ...] = ()
    clock: Clock | None = None
    group: Literal["max", "own"] = "max"
    extension_basis: Literal["c", "f"] = "c"
    action: Literal["erase", "anonymise"]
    holders: tuple[Word, ...]
    rights: Rights
    log_class: Annotated[StrictInt, Field(ge=1, le=0xFFFF)]

    @model_validator(mode="after")
    def _reasoned(self) -> Self:
        if self.period_source == "our proposal" and self.period_reason is None:
            raise ValueError("the notice gives no period: say in period_reason why this one")
        if self.period_source == "statute" and not self.statutory:
            raise ValueError("no rule here is statutory: use one, or set statute")
        return self

    @property
    def stored(self) -> bool:
        """Whether any system of ours keeps such data."""
        return not isinstance(self.rule, NeverStored)

    def same_clock(self, other: "Policy") -> bool:
        """Return whether both find the same day from which the time of any record runs."""
        return (self.clock, self.group, self.extension_basis) == (
            other.clock,
            other.group,
            other.extension_basis,
        )


def terms_json(policy: Policy) -> dict[str, Any]:
    """Return what a version of a policy says of time, as the second engine reads it."""
    said = {"version", "rule", "statute", "effective_from", "existing"}
    return policy.model_dump(mode="json", include=said)


class HolderContact(Closed):
    """Who is written to when a holder does not answer."""

    email: Email
    locale: Literal["sv", "en"] = "sv"


class HolderEntry(Closed):
    """A system that stores personal data.

    Attributes:
        location: Country code (ISO 3166) of where it stores it.
        kind: Who runs it, as seen from the controller.
        canaries: Categories of which it takes canaries, so that its purges can be seen to be true.
        contact: Who looks after it; a mailbox of a team, for it stands in the policies.
    """

    id: Word
    title: Title
    location: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    kind: Literal["internal", "processor", "recipient"]
    canaries: tuple[Word, ...] = ()
    contact: HolderContact | None = None


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of a directory by category, and the holders they may name by id."""

    by_category: Mapping[str, Policy]
    holders: Mapping[str, HolderEntry]

    @property
    def canaries(self) -> Sequence[tuple[str, str]]:
        """The holders that take canaries, each with a category of which it does."""
        return [(holder.id, c) for holder in self.holders.values() for c in holder.canaries]


def load(directory: Path, notice_categories: Collection[str] = CATEGORIES) -> Policies:
    """Return the policies of *directory*, every one of them checked.

    Raises:
        DocumentError: with all that is wrong.
    """
    problems: list[str] = []
    holders = _read(directory / "holders.yaml", TypeAdapter(tuple[HolderEntry, ...]), problems)
    policies: dict[str, Policy] = {}
    for path in sorted(directory.glob("*.yaml")):
        if path.name in _NOT_CATEGORIES:
            continue
        policy = _read(path, TypeAdapter(Policy), problems)
        if policy is not None and policy.category != path.stem:
            problems.append(f"{path.name}: category: the file of {policy.category} is named so")
        elif policy is not None:
            policies[policy.category] = policy
    if problems:
        raise DocumentError(problems)
    checked = Policies(policies, {holder.id: holder for holder in holders or ()})
    check(checked, notice_categories)
    return checked


def check(policies: Policies, notice_categories: Collection[str]) -> None:
    """Check what no file can know alone: that nothing is uncovered, unbounded or unheld.

    Raises:
        DocumentError: with all that is wrong.
    """
    missing = sorted(set(notice_categories) - set(policies.by_category))
    problems = [f"{category}.yaml: the notice speaks of it: add its policy" for category in missing]
    for policy in policies.by_category.values():
        found = _faults(policy, policies.holders)
        problems += [f"{policy.category}.yaml: {fault}" for fault in found]
    held = {
        (h, policy.category) for policy in policies.by_category.values() for h in policy.holders
    }
    problems += [
        f"holders.yaml: canaries: no policy lets {holder} hold {category}: remove it there"
        for holder, category in policies.canaries
        if (holder, category) not in held and category not in missing
    ]
    classes = Counter(policy.log_class for policy in policies.by_category.values())
    problems += [
        f"{policy.category}.yaml: log_class: {policy.log_class} is taken twice: take a new one"
        for policy in policies.by_category.values()
        if classes[policy.log_class] > 1
    ]
    if problems:
        raise DocumentError(problems)


def _faults(policy: Policy, holders: Collection[str]) -> Iterator[str]:
    for unknown in sorted(set(policy.holders) - set(holders)):
        yield f"holders: {unknown} is not in holders.yaml: add it there or correct the name"
    if not policy.stored:
        if policy.holders or policy.clock:
            yield "rule: never_stored data has neither holders nor a clock: remove them"
        return
    if isinstance(policy.rule, Oss10y):
        yield "rule: oss_10y bounds sales under that scheme alone: put it into a max with another"
    if policy.clock is None:
        yield "clock: without one the time never runs and nothing bounds it: add anchors"
    if not policy.holders:
        yield "holders: name the systems that store it, or make the rule never_stored"


def _read(path: Path, model: TypeAdapter[T], problems: list[str]) -> T | None:
    try:
        return parse(path.name, path.read_text("utf-8"), model)
    except FileNotFoundError:
        problems.append(f"{path.name}: is missing: every directory of policies has one")
    except UnicodeDecodeError:
        problems.append(f"{path.name}: is not UTF-8: save it as such")
    except DocumentError as error:
        problems += error.problems
    return None
