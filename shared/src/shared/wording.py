"""What people read, in their language: English sentences are the keys, gettext files the rest."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final, Literal

from babel.messages.pofile import read_po

Language = Literal["en", "sv"]
ENGLISH: Final = "en"


@cache
def translations(package: str, language: Language) -> Mapping[str, str]:
    """Return the sentences of *package* in *language*, by the English ones.

    ``locale/LANGUAGE.po`` in the package has them; a sentence that is not there stays English.
    """
    if language == ENGLISH:
        return {}
    with files(package).joinpath("locale", f"{language}.po").open("rb") as file:
        catalog = read_po(file, locale=language)
    return {str(message.id): str(message.string) for message in catalog if message.string}


def translator(package: str, language: Language) -> Callable[[str], str]:
    """Return what turns an English sentence of *package* into *language*."""
    translated = translations(package, language)
    return lambda english: translated.get(english, english)
