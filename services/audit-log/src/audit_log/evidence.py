"""A package that proves offline what the log says about one question; pure.

A ZIP file, stored and not compressed, of which every byte is vouched for: the manifest is signed
with the log's key and names the digest of every file, and the archive is put together in one way
only, so that it can be put together again and compared.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zipfile import BadZipFile, ZipFile, ZipInfo

from audit_log.checkpoint import Checkpoint, Signer, Verifier, split_note
from audit_log.leaf import PARTS, SALT, commitment, part_digest
from audit_log.proof import Proof
from audit_log.witness import Policy
from shared.canonical import canonical
from shared.errors import Rejected

MANIFEST: Final = "MANIFEST"
_TITLE: Final = "gallra evidence package v1"
_THEN: Final = (1980, 1, 1, 0, 0, 0)  # the time of every file: the earliest that ZIP knows
_README: Final = """\
What is in here
  entries.jsonl   the entries asked for, with what is left of their content
  proofs/         for each entry a C2SP tlog-proof that its leaf is in the signed log
  checkpoint      the state of the log that the proofs lead to, signed
  policy          whose signatures the checkpoint needs (C2SP tlog-policy)
  MANIFEST        the SHA-256 of each file, signed by the log

How to check it, against a key of the log that you have from elsewhere than this package
  gallra log verify --offline PACKAGE.zip --vkey 'KEY'

How to check it with programs that are not ours (docs/verifying.md explains each)
  1. unzip PACKAGE.zip -d package
  2. for each proof: an implementation of C2SP tlog-proof, with package/policy
  3. for each line of entries.jsonl: the SHA-256 of its parts is its leaf's last 32 bytes
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a package: its proof, and what is left of its content."""

    proof: Proof
    parts: Mapping[str, bytes]
    purged: Mapping[str, bytes]

    def line(self) -> dict[str, Any]:
        """Return the line in ``entries.jsonl``."""
        return {
            "index": self.proof.index,
            "leaf": self.proof.leaf.hex(),
            "parts": {
                name: {"salt": part[:SALT].hex(), "value": json.loads(part[SALT:])}
                for name, part in self.parts.items()
            },
            "purged": {name: digest.hex() for name, digest in self.purged.items()},
        }


def build(entries: Sequence[Entry], note: str, policy: str, signer: Signer) -> bytes:
    """Return the package with *entries* and the checkpoint *note* they are proven under."""
    files = {
        "README.txt": _README.encode(),
        "checkpoint": note.encode(),
        "entries.jsonl": b"".join(canonical(entry.line()) + b"\n" for entry in entries),
        "policy": policy.encode(),
    }
    for entry in entries:
        files[f"proofs/{entry.proof.index}.tlog-proof"] = str(entry.proof).encode()
    listed = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}" for name in sorted(files)]
    files[MANIFEST] = signer.sign_text("\n".join([_TITLE, *listed, ""])).encode()
    return _archive(files)


def _archive(files: Mapping[str, bytes]) -> bytes:
    written = io.BytesIO()
    with ZipFile(written, "w") as archive:
        for name in sorted(files):
            archive.writestr(ZipInfo(name, _THEN), files[name])
    return written.getvalue()


@dataclass(frozen=True, slots=True)
class Package:
    """A package that was checked."""

    checkpoint: Checkpoint
    lines: Sequence[Mapping[str, Any]]


def check(package: bytes, verifier: Verifier) -> Package:
    """Return what is in *package*, every byte of which *verifier*'s key vouches for.

    Raises:
        Rejected: something in it was changed, is missing or does not fit; the text names it.
    """
    files = _files(package)
    manifest = _decoded(files.get(MANIFEST, b""))
    text, lines = split_note(manifest)
    if not any(verifier.made(line, text) for line in lines):
        raise _refused("the manifest is not signed by the log")
    listed = dict(line.split("  ", 1)[::-1] for line in text.splitlines()[1:])
    digests = {n: hashlib.sha256(c).hexdigest() for n, c in files.items() if n != MANIFEST}
    if text.splitlines()[0] != _TITLE or listed != digests:
        raise _refused("a file is not what the manifest says")
    if _archive(files) != package:
        raise _refused("the archive is not put together as it was given out")
    policy = Policy.parse(_decoded(files["policy"]))
    if verifier not in policy.logs:
        raise _refused("the policy is about another log")
    # While a key is being retired both sign, and an auditor may know either.
    strange = [line for line in lines if not any(log.made(line, text) for log in policy.logs)]
    if strange or manifest != "\n".join([text, *lines, ""]):
        raise _refused("the manifest has more in it than signatures of the log")
    return _check_entries(files, policy)


def _check_entries(files: Mapping[str, bytes], policy: Policy) -> Package:
    note = _decoded(files["checkpoint"])
    if not policy.satisfied(policy.agreed(note)):
        raise _refused("too few witnesses have signed the checkpoint")
    entries = [json.loads(line) for line in files["entries.jsonl"].splitlines()]
    checkpoint: Checkpoint | None = None
    for entry in entries:
        proof = Proof.parse(_decoded(files.get(f"proofs/{entry['index']}.tlog-proof", b"")))
        checkpoint = proof.check(*policy.verifiers())
        if proof.note != note or proof.leaf.hex() != entry["leaf"]:
            raise _refused(f"entry {entry['index']} and its proof do not fit")
        if commitment(_digests(entry)) != proof.leaf[32:]:
            raise _refused(f"the content of entry {entry['index']} does not match its leaf")
    if checkpoint is None:
        raise _refused("there is no entry in it")
    return Package(checkpoint, entries)


def _digests(entry: Mapping[str, Any]) -> dict[str, bytes]:
    digests = {name: bytes.fromhex(digest) for name, digest in entry["purged"].items()}
    for name, part in entry["parts"].items():
        if name not in PARTS:
            raise _refused("an entry has a part of no known name")
        salted = bytes.fromhex(part["salt"]) + canonical(part["value"])
        digests[name] = part_digest(name, salted)
    return digests


def _files(package: bytes) -> dict[str, bytes]:
    try:
        with ZipFile(io.BytesIO(package)) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist()}
    except (BadZipFile, OSError, ValueError, KeyError, NotImplementedError, RuntimeError, EOFError):
        raise _refused("not a ZIP file, or a broken one") from None


def _decoded(file: bytes) -> str:
    try:
        return file.decode()
    except UnicodeDecodeError:
        raise _refused("a file is not text") from None


def _refused(why: str) -> Rejected:
    return Rejected(why, code="bad-evidence")
