"""What people read, in their language: English sentences are the keys, gettext files the rest."""

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Final, Literal

from babel.messages.pofile import read_po

Language = Literal["en", "sv"]
ENGLISH: Final = "en"


@cache
def translator(package: str, language: Language) -> Callable[[str], str]:
    """Return what turns an English sentence of *package* into *language*.

    ``locale/LANGUAGE.po`` in the package has the translations; a sentence that is not there stays
    English.
    """
    if language == ENGLISH:
        return str
    with files(package).joinpath("locale", f"{language}.po").open("rb") as file:
        catalog = read_po(file, locale=language)
    translated = {str(message.id): str(message.string) for message in catalog if message.string}
    return lambda english: translated.get(english, english)
