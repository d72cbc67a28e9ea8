"""A report is valid as it was issued, with every proof of its purges, and in no other way."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.test_report import NOW, report

from audit_log import merkle
from audit_log.checkpoint import Signer
from audit_log.leaf import Kind, Leaf, commitment, day_of, part_digest
from audit_log.proof import Proof
from gallra.reporting import check, in_words
from retention.paper import Evidence, as_pdf, evidence
from retention.tables import as_csv
from shared.canonical import canonical
from shared.errors import Rejected

SIGNER = Signer("log.test/master", base64.b64encode(b"k" * 32).decode())
SALT = b"s" * 16
REPORT = report()
CLOSED = "retention.purge-job.closed.v1"
ISSUED = "retention.report.issued.v1"


def logged(*values: Mapping[str, Any], signer: Signer = SIGNER) -> list[dict[str, Any]]:
    """Return what a log of these entries alone says of each, with proofs."""
    leaves = [
        Leaf(
            Kind.EVENT,
            0,
            day_of(NOW),
            bytes(20),
            commitment({"what": part_digest("what", SALT + canonical(value))}),
        ).encode()
        for value in values
    ]
    tiles = merkle.grow(0, {}, [merkle.leaf_hash(leaf) for leaf in leaves])
    note = signer.sign(len(leaves), merkle.root(len(leaves), tiles))
    return [
        {
            "index": index,
            "entry": {"salt": SALT.hex(), "value": value},
            "proof": str(Proof(leaves[index], index, _path(tiles, index, len(leaves)), note)),
        }
        for index, value in enumerate(values)
    ]


def _path(tiles: Mapping[merkle.Tile, bytes], index: int, size: int) -> Sequence[bytes]:
    return merkle.inclusion_proof(lambda *tile: tiles[tile], index, size)


def said(type_: str, id_: str, **data: Any) -> dict[str, Any]:
    source = "//gallra/retention"
    return {"type": type_, "id": id_, "source": source, "time": NOW.isoformat(), "data": data}


def proofs(type_: str = CLOSED, signer: Signer = SIGNER) -> dict[str, Any]:
    """Return proofs of the purges in the report; of the other entries, nothing is asked."""
    events = [str(p.closed_event) for line in REPORT.lines for p in line.purges]
    found = logged(*(said(type_, event) for event in events), signer=signer)
    return dict(zip(events, found, strict=True))


def found_in(given: Mapping[str, Any]) -> Evidence:
    """Return the evidence, with the purges where the log has them."""
    lines = [
        replace(
            line,
            purges=[replace(p, entry=n) for n, p in enumerate(line.purges, _first(given, line))],
        )
        for line in REPORT.lines
    ]
    return evidence(replace(REPORT, lines=lines), given)


def _first(given: Mapping[str, Any], line: Any) -> int:
    events = [str(p.closed_event) for p in line.purges]
    return given[events[0]]["index"] if events and events[0] in given else 0


def issued(attached: Evidence, **changed: Any) -> tuple[bytes, dict[str, Any]]:
    file = as_pdf(REPORT, attached, "en")
    days = {"period_from": "2032-01-01", "period_to": "2032-01-02", "as_of": "2032-01-02"}
    hashes = {"sha256": hashlib.sha256(file).hexdigest(), "evidence": attached.sha256}
    [entry] = logged(said(ISSUED, hashes["sha256"], **(days | hashes | changed)))
    return file, entry


def test_a_report_that_was_issued_is_valid() -> None:
    file, entry = issued(found_in(proofs()))
    found = check(file, entry, SIGNER.verifier)
    assert found["evidence"]["purge_jobs_proven"] == 3
    assert "the proofs of 3 purge jobs: all hold" in in_words(found)
    assert "2032-01-01 through 2032-01-02" in in_words(found)


def test_what_is_no_pdf_needs_no_evidence() -> None:
    file = as_csv(REPORT)
    sha256 = hashlib.sha256(file).hexdigest()
    days = {"period_from": "2032-01-01", "period_to": "2032-01-02", "as_of": "2032-01-02"}
    [entry] = logged(said(ISSUED, sha256, sha256=sha256, **days))
    assert check(file, entry, SIGNER.verifier)["evidence"] is None
    with pytest.raises(Rejected, match="does not commit to this file"):
        check(file + b"\n", entry, SIGNER.verifier)


def _without_one(attached: Evidence) -> Evidence:
    return replace(attached, proofs=b"".join(attached.proofs.splitlines(keepends=True)[1:]))


def _other_place(attached: Evidence) -> Evidence:
    changed = attached.proofs.replace(b"index 0", b"index 1")
    assert changed != attached.proofs
    return replace(attached, proofs=changed)


def _other_rows(attached: Evidence) -> Evidence:
    rows = json.loads(attached.rows)
    rows["categories"][0]["purges"] = []
    rows["categories"][1]["purges"] = []
    rows["categories"][2]["purges"] = []
    return replace(attached, rows=json.dumps(rows).encode())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_without_one, "not those of the purges"),
        (_other_rows, "not those of the purges"),
        (lambda made: replace(made, proofs=b""), "not those of the purges"),
        (lambda made: replace(made, checkpoint=b"log\n9\nAAAA\n"), "another checkpoint"),
        (_other_place, "not a valid report"),
        (lambda made: replace(made, proofs=b"{}\n"), "not a valid report"),
        (lambda _: found_in(proofs("retention.purge-job.opened.v1")), "not of the end of a purge"),
        (lambda _: found_in(proofs(signer=OTHER)), "signature is missing or wrong"),
    ],
)
def test_evidence_that_does_not_hold_is_refused(
    change: Callable[[Evidence], Evidence], why: str
) -> None:
    file, entry = issued(change(found_in(proofs())))
    with pytest.raises(Rejected, match=why):
        check(file, entry, SIGNER.verifier)


OTHER = Signer("log.test/master", base64.b64encode(b"o" * 32).decode())


@pytest.mark.parametrize("changed", [{"evidence": "0" * 64}, {"sha256": "0" * 64}])
def test_the_log_must_commit_to_it(changed: dict[str, str]) -> None:
    file, entry = issued(found_in(proofs()), **changed)
    with pytest.raises(Rejected, match="commit"):
        check(file, entry, SIGNER.verifier)


def test_another_log_does_not_vouch_for_it() -> None:
    file, entry = issued(found_in(proofs()))
    with pytest.raises(Rejected):
        check(file, entry, OTHER.verifier)
    entry["entry"]["value"]["type"] = CLOSED
    with pytest.raises(Rejected, match="does not open"):
        check(file, entry, SIGNER.verifier)
