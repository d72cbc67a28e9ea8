"""The answer to a request on paper: PDF/A-3a and PDF/UA-1, whose bytes follow from the answer."""

import json
from importlib.resources import files
from typing import Final

import typst

from retention.glyphs import shown
from retention.policy import Policies
from retention.rights_letter import Answer, as_parts
from shared.wording import Language

_SOURCE: Final = files("retention").joinpath("templates", "answer.typ")


def as_pdf(answer: Answer, policies: Policies, language: Language) -> bytes:
    """Return the answer as a PDF; what stands in it is data, never source to be set."""
    letter = shown({"language": language, **as_parts(answer, policies, language)})
    return typst.compile(
        _SOURCE.read_bytes(),
        ignore_system_fonts=True,  # the same letters on every machine
        sys_inputs={"letter": json.dumps(letter, default=str)},
        pdf_standards=["a-3a", "ua-1"],
        timestamp=0,
    )
