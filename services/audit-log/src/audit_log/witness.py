"""Witnesses of the log: who they are, how many must agree, what they are asked; pure.

The policy file is that of C2SP tlog-policy, the request that of C2SP tlog-witness.
"""

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from audit_log.checkpoint import Verifier, split_note
from shared.errors import Rejected

_ANY: Final = "any"
_ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class Group:
    """So many of these must agree."""

    needed: int
    members: Sequence[str]


@dataclass(frozen=True, slots=True)
class Policy:
    """Whose signatures a checkpoint needs.

    Attributes:
        logs: The log's own keys; more than one while a key is being retired.
        witnesses: Their keys, by the names that groups use.
        urls: Where each is asked.
        quorum: The witness or group that must have agreed; None if none need to.
    """

    logs: Sequence[Verifier]
    witnesses: Mapping[str, Verifier] = field(default_factory=dict[str, Verifier])
    urls: Mapping[str, str] = field(default_factory=dict[str, str])
    groups: Mapping[str, Group] = field(default_factory=dict[str, Group])
    quorum: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the policy in a file.

        Raises:
            Rejected: a line cannot be understood; the text names it.
        """
        logs: list[Verifier] = []
        witnesses: dict[str, Verifier] = {}
        urls: dict[str, str] = {}
        groups: dict[str, Group] = {}
        quorum: list[str] = []
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            try:
                match words:
                    case ["log", vkey, *_]:
                        logs.append(Verifier.parse(vkey))
                    case ["witness", name, vkey, *url]:
                        witnesses[name] = Verifier.parse(vkey)
                        urls |= {name: url[0]} if url else {}
                    case ["group", name, needed, *members]:
                        groups[name] = _group(needed, members, {*witnesses, *groups})
                    case ["quorum", name]:
                        quorum.append(name)
                    case _:
                        raise _wrong(number)
            except ValueError:
                raise _wrong(number) from None
        known = {*witnesses, *groups, "none"}
        if not logs or len(quorum) != 1 or quorum[0] not in known:
            raise Rejected("a policy names a log, and one quorum that it knows", code="policy")
        wanted = None if quorum[0] == "none" else quorum[0]
        return cls(logs, witnesses, urls, groups, wanted)

    def agreed(self, note: str) -> set[str]:
        """Return the names of the witnesses whose right cosignature is on *note*."""
        text, lines = split_note(note)
        return {
            name
            for name, verifier in self.witnesses.items()
            if any(verifier.made(line, text) for line in lines)
        }

    def satisfied(self, agreed: Collection[str]) -> bool:
        """Return True if those who agreed are enough."""
        return self.quorum is None or self._holds(self.quorum, agreed)

    def _holds(self, name: str, agreed: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in agreed
        return sum(self._holds(member, agreed) for member in group.members) >= group.needed

    def verifiers(self) -> list[Verifier]:
        """Return all keys that may have signed a checkpoint."""
        return [*self.logs, *self.witnesses.values()]


def _wrong(line: int) -> Rejected:
    return Rejected(f"line {line} of the policy is wrong", code="policy")


def _group(needed: str, members: Sequence[str], known: Collection[str]) -> Group:
    if not members or not set(members) <= set(known):
        raise ValueError(needed)
    count = {_ANY: 1, _ALL: len(members)}.get(needed) or int(needed)
    if not 1 <= count <= len(members):
        raise ValueError(needed)
    return Group(count, members)


def request(old: int, proof: Sequence[bytes], note: str) -> str:
    """Return what a witness is asked that last saw a log of *old* entries."""
    hashes = "".join(f"{base64.b64encode(h).decode()}\n" for h in proof)
    return f"old {old}\n{hashes}\n{note}"
