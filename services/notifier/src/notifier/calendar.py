"""A maintenance window as an entry in people's calendars (RFC 5545); pure.

Published, not an invitation: nobody is asked to answer.  All notices about one window share its
UID, so that a later one moves or cancels the entry that an earlier one made.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from icalendar import Calendar, Event, vText

PRODUCT: Final = "-//Gallra//notifier//EN"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a window.

    Attributes:
        uid: The same in every notice about it.
        sequence: Grows with every notice.
    """

    uid: str
    sequence: int
    starts: datetime
    ends: datetime
    cancelled: bool

    @classmethod
    def read(cls, said: dict[str, Any]) -> Self:
        """Return the entry that :meth:`as_json` wrote."""
        moments = {name: datetime.fromisoformat(said[name]) for name in ("starts", "ends")}
        return cls(said["uid"], said["sequence"], cancelled=said["cancelled"], **moments)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "uid": self.uid,
            "sequence": self.sequence,
            "starts": self.starts.isoformat(),
            "ends": self.ends.isoformat(),
            "cancelled": self.cancelled,
        }

    def render(self, summary: str, stamp: datetime) -> bytes:
        """Return the iCalendar object, told at *stamp*; times are in UTC."""
        calendar: Any = Calendar()
        calendar.add("prodid", PRODUCT)
        calendar.add("version", "2.0")
        calendar.add("method", "CANCEL" if self.cancelled else "PUBLISH")
        event: Any = Event()
        event.add("uid", vText(self.uid))
        event.add("sequence", self.sequence)
        event.add("dtstamp", stamp)
        event.add("dtstart", self.starts)
        event.add("dtend", self.ends)
        event.add("summary", summary)
        event.add("status", "CANCELLED" if self.cancelled else "CONFIRMED")
        event.add("transp", "TRANSPARENT")
        calendar.add_component(event)
        made: bytes = calendar.to_ical()
        return made
