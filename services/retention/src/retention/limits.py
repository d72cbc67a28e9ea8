"""How much of a category may be purged in a day before people are asked; pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is known of a category on a day.

    Attributes:
        gone: Records confirmed to be purged that day.
        at_hand: Ordered that day and not confirmed, or about to be ordered.
        late: Of those, due already when they were registered.
        forecast: What was expected the day before; None if nobody looked.
        yesterday: Records purged the day before.
        of: Records of the category that are registered.
        approved: What two people have let through lately.
        canaries: Of those gone, on the way or waiting, records of nobody, whom nobody misses.
    """

    gone: int = 0
    at_hand: int = 0
    late: int = 0
    forecast: int | None = None
    yesterday: int = 0
    of: int = 0
    approved: int = 0
    canaries: int = 0

    @property
    def asked(self) -> int:
        """All that would have been ordered that day, but for canaries."""
        return self.gone + self.at_hand - self.canaries


@dataclass(frozen=True, slots=True)
class Limits:
    """What is usual.

    Attributes:
        factor: So many times what was forecast.
        floor: So few records that nobody is asked.
        share: So much of a category.
    """

    factor: float = 1.5
    floor: int = 100
    share: float = 0.25

    def excess(self, numbers: Numbers) -> str | None:
        """Return what is unusual about a day's purges, if anything is.

        A category that is kept for days loses much of itself every day: what yesterday was usual,
        or was approved, counts as usual.

        Without a forecast, as on the first day, only the share is looked at.  What was due already
        when it was registered does not count then, nor what is gone: an archive is being taken
        over, and no date of ours has moved.  Every other day it does count, for a producer may err.
        """
        asked = numbers.asked
        if asked <= numbers.approved + self.floor:
            return None
        if numbers.forecast is None:
            asked -= numbers.gone + numbers.late
        elif asked > numbers.forecast * self.factor:
            return f"{asked} would be purged in a day for which {numbers.forecast} were forecast"
        usual = max(self.floor, self.share * numbers.of, self.factor * numbers.yesterday)
        if asked > usual:
            return f"{asked} of {numbers.of + numbers.gone} would be purged in a day"
        return None
