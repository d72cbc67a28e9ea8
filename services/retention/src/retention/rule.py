"""The words in which a policy says when its clock starts and how long data is kept; pure."""

from datetime import date
from functools import cached_property
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints, model_validator

Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]*$", max_length=200)]
"""A lower-case name, such as a category, a holder or a kind of anchor."""


class Closed(BaseModel):
    """A part of a policy file; an unknown field is an error, for it may be a misspelt one."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Bfl72(Closed):
    """Accounting information: the seventh year after the one in which its financial year ended."""

    rule: Literal["bfl_7_2"]


class Oss10y(Closed):
    """Sales under the union VAT scheme: ten years; says nothing of any other record."""

    rule: Literal["oss_10y"]


class Bfl76Original(Closed):
    """Paper originals of accounting information, converted or not."""

    rule: Literal["bfl_7_6_original"]


class Period(Closed):
    """So many months or days after the anchor, never moved by weekends.

    Attributes:
        end_of: Keep on to the end of that month or calendar year.
    """

    rule: Literal["period"]
    months: Annotated[StrictInt, Field(ge=1, le=1200)] | None = None
    days: Annotated[StrictInt, Field(ge=0, le=36600)] | None = None
    end_of: Literal["month", "year"] | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.months is None) == (self.days is None):
            raise ValueError("a period is either so many months or so many days: give one of them")
        return self


class NeverStored(Closed):
    """No system of ours keeps such data; a record of it is an error."""

    rule: Literal["never_stored"]


class Max(Closed):
    """The longest of several rules."""

    rule: Literal["max"]
    rules: Annotated[tuple["Keeping", ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _always_bounded(self) -> Self:
        if all(isinstance(rule, Oss10y) for rule in self.rules):
            raise ValueError("oss_10y covers sales under that scheme alone: add a rule for others")
        return self


class Min(Closed):
    """The shortest of several rules, none of which is statutory: a statute admits no shortening."""

    rule: Literal["min"]
    rules: Annotated[tuple[Period, ...], Field(min_length=2)]


Keeping: TypeAlias = Annotated[
    Bfl72 | Oss10y | Bfl76Original | Period | Max | Min, Field(discriminator="rule")
]
Rule: TypeAlias = Annotated[
    Bfl72 | Oss10y | Bfl76Original | Period | Max | Min | NeverStored, Field(discriminator="rule")
]


def is_statutory(rule: Rule) -> bool:
    """Return whether *rule*, or a part of it, is a minimum that the law sets."""
    match rule:
        case Bfl72() | Oss10y() | Bfl76Original():
            return True
        case Max():
            return any(is_statutory(part) for part in rule.rules)
        case Period() | Min() | NeverStored():
            return False


class Clock(Closed):
    """When the time of a record begins to run: when it is no longer needed, and not before.

    Attributes:
        anchors: Kinds of occurrences that the time runs from; at least one must be known.
        resolve: Which of several occurrences counts, by effective date.
        while_service: The time does not run while the customer has a service.
        ended_by: Kinds of occurrences that end the need for the record even though services run;
            if ``while_service`` is off, the need lasts until one of them.
    """

    anchors: tuple[Word, ...] = ()
    resolve: Literal["latest", "first"] = "latest"
    while_service: bool = False
    ended_by: tuple[Word, ...] = ()

    @model_validator(mode="after")
    def _starts(self) -> Self:
        if not (self.anchors or self.while_service or self.ended_by):
            raise ValueError("the clock never starts: name anchors, ended_by or while_service")
        return self


class Terms(Closed):
    """What one version of a policy says about time.

    Attributes:
        statute: All of the period is a minimum that no accepted erasure goes below; statutory
            rules are one by themselves.
        grace: Within which a purge must be confirmed once it is due, as ISO 8601 days.
        effective_from: First civil day of this version; data whose clock started before exists.
        existing: Whether existing data is also kept by this version, or as it was promised.
    """

    rule: Rule
    statute: bool = False
    grace: Annotated[str, StringConstraints(pattern=r"^P\d{1,3}D$")] = "P7D"
    effective_from: date
    existing: Literal["keep", "apply"] = "keep"

    @cached_property
    def grace_days(self) -> int:
        """The grace in civil days."""
        return int(self.grace[1:-1])

    @cached_property
    def statutory(self) -> bool:
        """Whether the law sets a minimum here, known or not."""
        return self.statute or is_statutory(self.rule)
