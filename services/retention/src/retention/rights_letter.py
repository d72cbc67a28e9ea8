"""The answer to a request about a person's rights, for people and for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from retention.explanation import Phrase, say
from retention.policy import Policies, Policy
from retention.rights_matrix import Decision, Verdict
from retention.rights_rules import Right
from shared.wording import Language, translator

RIGHTS: Final[Mapping[Right, Phrase]] = {
    "access": say("a copy of the personal data"),
    "rectify": say("correction of personal data"),
    "erase": say("erasure of personal data"),
    "restrict": say("restriction of the use of personal data"),
    "object": say("an end to the use of personal data (objection)"),
    "portability": say("personal data in a machine-readable form"),
}

_VERDICTS: Final[Mapping[Verdict, Phrase]] = {
    "granted": say("granted"),
    "partly": say("granted in part"),
    "refused": say("refused"),
    "no_data": say("no data"),
    "cannot_identify": say("cannot be told to be about the person"),
}

_COMPLAINT: Final = say(
    "Whoever is not content may complain to Integritetsskyddsmyndigheten (the Swedish Authority for"
    " Privacy Protection, imy.se), or go to court."
)
_NOBODY: Final = say(
    "We asked for proof of who you are and got none that we can go by, so we cannot act on the"
    " request (GDPR article 12(2) and 12(6))."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person is told.

    Attributes:
        decisions: None if nobody could decide, for want of an identity.
    """

    case_id: str
    right: Right
    received_on: date
    answered_on: date
    decisions: Sequence[Decision] | None


def as_text(
    answer: Answer, policies: Policies, language: Language, fetch_until: date | None = None
) -> str:
    """Return the letter, without what the mail says of itself."""
    parts = _parts(answer, policies, language)
    lines = [f"{part['title']}: {part['verdict']}. {part['text']}" for part in parts]
    lines += _rest(answer, policies, language)
    if fetch_until is not None:
        fetch = say("The data can be fetched through the link until {day}.", day=fetch_until)
        lines.append(fetch.said(translator("retention", language)))
    return "\n\n".join(lines)


def as_parts(answer: Answer, policies: Policies, language: Language) -> dict[str, Any]:
    """Return what stands in the letter on paper: title, facts, parts and closing."""
    translate = translator("retention", language)
    facts = (
        (say("Request"), answer.case_id),
        (say("Asked for"), RIGHTS[answer.right].said(translate)),
        (say("Received on"), answer.received_on),
        (say("Answered on"), answer.answered_on),
    )
    return {
        "title": say("Answer to a request about personal data").said(translate),
        "facts": [[name.said(translate), str(value)] for name, value in facts],
        "parts": _parts(answer, policies, language),
        "closing": [*_rest(answer, policies, language), _COMPLAINT.said(translate)],
    }


def _parts(answer: Answer, policies: Policies, language: Language) -> list[dict[str, str]]:
    """Return what is said of each category of which there is something to say."""
    translate = translator("retention", language)
    parts: list[dict[str, str]] = []
    for decision in answer.decisions or ():
        if decision.decision == "no_data":
            continue
        until = _until(decision)
        said = f"{translate(decision.reason)} ({_law(decision.article)})"
        parts.append(
            {
                "title": _title(policies, decision.category, language),
                "verdict": _VERDICTS[decision.decision].said(translate),
                "text": f"{said} {until.said(translate)}" if until else said,
            }
        )
    return parts


def _rest(answer: Answer, policies: Policies, language: Language) -> list[str]:
    """Return why nothing was decided, or in which categories there is nothing."""
    translate = translator("retention", language)
    if answer.decisions is None:
        return [_NOBODY.said(translate)]
    nothing = [d.category for d in answer.decisions if d.decision == "no_data"]
    titles = ", ".join(_title(policies, category, language) for category in nothing)
    held = say("We hold no data about you in: {categories}.", categories=titles)
    return [held.said(translate)] if nothing else []


def _until(decision: Decision) -> Phrase | None:
    first, last = decision.until_first, decision.until_last
    if first is None or last is None:
        return None
    if first == last:
        return say("It is kept through {day} and erased then, without a new request.", day=last)
    return say(
        "It is kept through days from {first} to {last}, and each part erased then, without a new"
        " request.",
        first=first,
        last=last,
    )


def _law(article: str) -> str:
    return f"GDPR art. {article}" if article[0].isdigit() else article


def _title(policies: Policies, category: str, language: Language) -> str:
    title: str = getattr(policies.by_category[category].title, language)
    return title


def as_json(answer: Answer, policies: Policies, language: Language) -> dict[str, Any]:
    """Return the same for programs, with what GDPR article 15(1) asks to be told."""
    translate = translator("retention", language)
    decisions = answer.decisions
    return {
        "case": answer.case_id,
        "right": answer.right,
        "asked_for": RIGHTS[answer.right].said(translate),
        "received_on": answer.received_on,
        "answered_on": answer.answered_on,
        "refused_because": None if decisions is not None else _NOBODY.said(translate),
        "categories": [_told(d, policies, language) for d in decisions or ()],
        "complaint": _COMPLAINT.said(translate),
    }


def _told(decision: Decision, policies: Policies, language: Language) -> dict[str, Any]:
    translate = translator("retention", language)
    policy = policies.by_category[decision.category]
    return {
        "category": decision.category,
        "title": _title(policies, decision.category, language),
        "decision": decision.decision,
        "article": _law(decision.article),
        "reason": translate(decision.reason),
        "records": decision.records,
        "kept_through": decision.until_last and {
            "first": decision.until_first, "last": decision.until_last,
        },
        "data": policy.data_fields,
        "legal_basis": policy.legal_basis,
        "notice": policy.notice,
        "rule": policy.rule.model_dump(mode="json"),
        "holders": _holders(policy, policies, language),
    }  # fmt: skip


def _holders(policy: Policy, policies: Policies, language: Language) -> list[dict[str, Any]]:
    entries = [policies.holders[holder] for holder in policy.holders]
    return [
        {
            "title": getattr(entry.title, language),
            "country": entry.location,
            "kind": entry.kind,
        }
        for entry in entries
    ]
