"""What the log says of itself in public entries, believed as far as the log vouches for it."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from audit_log import merkle, store
from audit_log.checkpoint import KEYS_CHANGED, Checkpoint, Keyring, Verifier
from audit_log.filing import committed
from audit_log.leaf import SALT, Kind, part_digest
from shared.errors import Rejected
from shared.postgres import Connection

_NAMES: Final = {Kind.PURGE_RECEIPT: "receipt", Kind.KEY_EVENT: "key event"}


async def logged(
    tx: Connection, kind: Kind, action: str, after: int = -1
) -> tuple[list[tuple[int, bytes, Any]], list[str]]:
    """Return index, leaf and content of the entries of a kind, and which do not match their leaf.

    The leaves are as they are stored: it is for others to find out whether they were signed.
    """
    found: list[tuple[int, bytes, Any]] = []
    problems: list[str] = []
    told = await store.statements_of(tx, action, after)
    leaves = await store.leaves_at(tx, [index for index, _ in told])
    for index, what in told:
        leaf = leaves.get(index, b"")
        digests = b"what\x00" + part_digest("what", what)
        if leaf[3:4] != bytes([kind]) or leaf[32:] != committed(digests):
            problems.append(f"{_NAMES[kind]} {index}: it is not what was logged")
        else:
            found.append((index, leaf, msgspec.json.decode(what[SALT:])))
    return found, problems


async def learn_keys(tx: Connection, keyring: Keyring, newest: Checkpoint) -> list[str]:
    """Add to *keyring* the keys that the log gave up; return what is wrong with its saying so.

    Only what is proven to lie under *newest* teaches anything: whoever can write to the database
    could else give the log another key, and with it another history.
    """
    told, problems = await logged(tx, Kind.KEY_EVENT, KEYS_CHANGED)
    for index, leaf, content in told:
        if index >= newest.size:
            continue
        try:
            await _check_inclusion(tx, index, leaf, newest)
            for vkey in set(content["before"]) - set(content["keys"]):
                keyring.retired[Verifier.parse(vkey)] = index
        except (Rejected, KeyError, TypeError) as error:
            problems.append(f"key event {index}: {error}")
    return problems


async def _check_inclusion(tx: Connection, index: int, leaf: bytes, newest: Checkpoint) -> None:
    def path(read: merkle.ReadTile) -> list[bytes]:
        return merkle.inclusion_proof(read, index, newest.size)

    proof = await _proof(tx, path)
    merkle.verify_inclusion(merkle.leaf_hash(leaf), index, newest.size, proof, newest.root)


async def check_consistency(tx: Connection, old: Checkpoint, newest: Checkpoint) -> None:
    """Check that the log at *newest* begins with the log at *old*.

    Raises:
        Rejected: it does not.
    """

    def path(read: merkle.ReadTile) -> list[bytes]:
        return merkle.consistency_proof(read, old.size, newest.size)

    proof: Sequence[bytes] = []
    if old.size <= newest.size:
        proof = await _proof(tx, path)
    merkle.verify_consistency(old.size, newest.size, proof, old.root, newest.root)


async def _proof(
    tx: Connection, path: Callable[[merkle.ReadTile], Sequence[bytes]]
) -> Sequence[bytes]:
    tiles = await store.read_tiles(tx, merkle.tiles_needed(path))
    try:
        return path(lambda level, number: tiles[level, number])
    except (KeyError, IndexError, ValueError):
        raise Rejected("a tile that proves it is missing or too short", code="bad-tile") from None
