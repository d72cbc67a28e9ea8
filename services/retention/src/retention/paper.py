"""The retention report on paper: PDF/A-3a and PDF/UA-1, with its evidence attached.

``templates/report.typ`` says what it looks like.  It is given data alone, never text to be set as
source: whatever stands in a row stays what it is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import typst

from retention.findings import Report
from retention.glyphs import shown
from retention.rights_letter import RIGHTS
from retention.tables import as_json
from shared.canonical import canonical, digest
from shared.wording import Language, translations, translator

Proofs = Mapping[str, Mapping[str, Any]]
"""By event: its index in the master log, what the log says of it, and its ``.tlog-proof``."""

_SOURCE: Final = files("retention").joinpath("templates", "report.typ")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is attached to a report: its rows, a checkpoint of the log, the proofs under it."""

    rows: bytes
    checkpoint: bytes
    proofs: bytes

    @property
    def sha256(self) -> str:
        """What the master log commits to."""
        return digest(self.rows, self.checkpoint, self.proofs).hex()


def evidence(report: Report, proofs: Proofs) -> Evidence:
    """Return what proves a report; checkpoint and proofs are empty where nothing was purged."""
    ordered = sorted(proofs.items(), key=lambda proof: proof[1]["index"])
    lines = [canonical({"event_id": event_id, **proof}) + b"\n" for event_id, proof in ordered]
    notes = {proof["proof"].partition("\n\n")[2] for _, proof in ordered}
    return Evidence(as_json(report), "".join(sorted(notes)).encode(), b"".join(lines))


def as_pdf(report: Report, attached: Evidence, language: Language) -> bytes:
    """Return the report as a PDF whose bytes follow from its arguments."""
    translate = translator("retention", language)
    said = {
        "language": language,
        "words": dict(translations("retention", language)),
        "why": {line.policy.category: line.why_in(translate) for line in report.lines},
        "rights": {right: words.said(translate) for right, words in RIGHTS.items()},
        "evidence": attached.sha256,
    }
    return typst.compile(
        _SOURCE.read_bytes(),
        ignore_system_fonts=True,  # the same letters on every machine
        sys_inputs={
            "said": json.dumps(said),
            "rows": attached.rows.decode(),
            "shown": json.dumps(shown(json.loads(attached.rows))),
            "checkpoint": attached.checkpoint.decode(),
            "proofs": attached.proofs.decode(),
        },
        pdf_standards=["a-3a", "ua-1"],
        timestamp=0,
    )
