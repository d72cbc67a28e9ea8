"""The events that cross the bus: one catalogue of types, topics, keys and models.

Everything that must know about an event reads it here: the codec, the consumers, `gallra topics
apply`, the JSON Schemas and the AsyncAPI document under docs/.

A field may be added with a default.  Renaming or removing one makes a new event type.  Readers
ignore fields they do not know, so that producers can be upgraded first; the one exception is
``platform.action.performed.v1``, whose schema is closed because every field in it has a lawful
reason to be there.
"""

from shared.events.catalogue import (
    BY_TYPE,
    EVENT_TYPES,
    TOPICS,
    EventType,
    Topic,
    event_type_of,
)
from shared.events.model import Data

__all__ = ["BY_TYPE", "EVENT_TYPES", "TOPICS", "Data", "EventType", "Topic", "event_type_of"]
