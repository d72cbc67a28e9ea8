"""C2SP tlog-proof@v1: a file that shows offline that an entry is in the log; pure."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from audit_log import merkle
from audit_log.checkpoint import Checkpoint, Verifier, open_strictly
from shared.errors import Rejected

_VERSION: Final = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class Proof:
    """A leaf, where it is, and how its hash leads to a signed root."""

    leaf: bytes
    index: int
    hashes: Sequence[bytes]
    note: str

    def __str__(self) -> str:
        """Return the file."""
        lines = [
            _VERSION,
            f"extra {base64.b64encode(self.leaf).decode()}",
            f"index {self.index}",
            *(base64.b64encode(h).decode() for h in self.hashes),
            "",
            self.note,
        ]
        return "\n".join(lines)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the proof in the file *text*.

        Raises:
            Rejected: it is not written exactly as it would be.
        """
        head, _, note = text.partition("\n\n")
        try:
            _, extra, index, *hashes = head.split("\n")
            proof = cls(
                base64.b64decode(extra.removeprefix("extra "), validate=True),
                int(index.removeprefix("index ")),
                [base64.b64decode(h, validate=True) for h in hashes],
                note,
            )
        except ValueError:
            raise Rejected("not a tlog-proof", code="bad-proof") from None
        if str(proof) != text:
            raise Rejected("the tlog-proof is not written as it was given out", code="bad-proof")
        return proof

    def check(self, *verifiers: Verifier) -> Checkpoint:
        """Return the checkpoint that the leaf is proven to lie under.

        Raises:
            Rejected: anything in it is not vouched for by the keys.
        """
        checkpoint = open_strictly(self.note, *verifiers)
        leaf = merkle.leaf_hash(self.leaf)
        merkle.verify_inclusion(leaf, self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint
