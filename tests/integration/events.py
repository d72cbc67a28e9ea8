"""Events for tests that call handlers directly."""

from datetime import datetime
from itertools import count

from shared.cloudevents import Event
from shared.events import Data, event_type_of

_numbers = count()


def event(data: Data, at: datetime) -> Event:
    """Return an event of its own with *data* in it."""
    number = str(next(_numbers))
    return Event(
        type=event_type_of(data),
        source="//test",
        id=number,
        time=at,
        content=data.model_dump(mode="json", exclude_unset=True),
    )
