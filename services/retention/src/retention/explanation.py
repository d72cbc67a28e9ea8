"""How a deadline is told to people: fact by fact, rule by rule; pure.

What is said is an English sentence with values in it.  The sentence is the key by which other
languages find theirs (``locale/*.po``), so that the rules know one language only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Translate = Callable[[str], str]
"""Returns a sentence in another language; the English one where there is none."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A sentence, and the values that belong in its braces."""

    english: str
    values: Mapping[str, object] = field(default_factory=dict[str, object])

    def said(self, translate: Translate) -> str:
        """Return the sentence with its values, in the language of *translate*."""
        values = {
            name: value.said(translate) if isinstance(value, Phrase) else value
            for name, value in self.values.items()
        }
        return translate(self.english).format(**values)

    def __str__(self) -> str:
        return self.said(lambda english: english)


def say(english: str, **values: object) -> Phrase:
    """Return a sentence with its values."""
    return Phrase(english, values)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an explanation: from which fact, by which rule, by what source.

    Attributes:
        source: A paragraph of law; empty for a rule that follows from the policy.
        event: The event that told of the fact: its source, a space and its id.
    """

    fact: Phrase
    rule: Phrase
    source: str = ""
    event: str = ""

    def told(self, translate: Translate) -> dict[str, str]:
        """Return the step in words."""
        return {
            "fact": self.fact.said(translate),
            "rule": self.rule.said(translate),
            "source": self.source,
            "event": self.event,
        }
