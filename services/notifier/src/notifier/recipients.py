"""Addresses and the tokens that stand for them."""

from notifier import store
from notifier.addresses import lookup
from shared.addresses import normal
from shared.ids import new_id
from shared.postgres import Connection


async def token_of(tx: Connection, key: bytes, email: str) -> str:
    """Return the token of an address; it gets one if it has none yet.

    Raises:
        Rejected: it is not an address.
    """
    return await store.put_recipient(tx, str(new_id()), lookup(key, email), normal(email))
