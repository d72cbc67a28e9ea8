"""The facts of a record whose time has just run out; pure."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date
from typing import Final

from retention.anchor import Anchor, Facts, Resolved, ServiceEvent
from retention.deadline import Circumstances, compute_under
from retention.law import FinancialYear, FinancialYears
from retention.policy import Policy
from shared.errors import Rejected

ENTITY: Final = "canary"
"""A legal entity of nobody; its financial years are calendar years, in the database too."""

YEARS: Final = FinancialYears.of(
    FinancialYear(date(year, 1, 1), date(year, 12, 31)) for year in range(1990, 2101)
)
_EARLIEST: Final = date(1900, 1, 1)


def just_due(versions: Sequence[Policy], today: date) -> Facts:
    """Return what may have happened, as late as possible, to a record of ENTITY due on *today*.

    Under a policy with these *versions*, oldest first.  With several of them a later day may do as
    well.

    Raises:
        Rejected: data of the category is never stored.
    """
    clock = versions[-1].clock
    if clock is None:
        raise Rejected(f"the policy of {versions[-1].category} has no clock", code="never-stored")
    day = _latest(versions, today)
    kinds = (*clock.anchors[:1], *clock.ended_by[:1])
    served = clock.while_service and not clock.ended_by
    return Facts(
        anchors=[Anchor(kind, kind, day) for kind in kinds],
        services=[ServiceEvent(ENTITY, "terminated", day)] if served else [],
    )


def _latest(versions: Sequence[Policy], today: date) -> date:
    """Return the last day such that a record anchored on it is due on *today*."""

    def kept_through(ordinal: int) -> date:
        resolved = Resolved("known", date.fromordinal(ordinal))
        return compute_under(versions, resolved, Circumstances(YEARS)).keep_through or date.min

    days = range(_EARLIEST.toordinal(), today.toordinal())
    return date.fromordinal(days[bisect_left(days, today, key=kept_through) - 1])
