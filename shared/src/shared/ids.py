"""Identity of what Gallra makes itself."""

from uuid import UUID

import uuid_utils.compat


def new_id() -> UUID:
    """Return a UUIDv7: unique, and ordered by the time it was made (RFC 9562)."""
    return uuid_utils.compat.uuid7()
