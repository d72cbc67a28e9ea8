"""The message types of the privacy notice, as data: who gets them, and who may refuse; pure."""

from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Locale = Literal["sv", "en"]


class MessageType(BaseModel):
    """One kind of message.

    Attributes:
        notice: The words of the privacy notice that it stands for.
        mandatory: True where no recipient may refuse it; an optional one needs a recorded basis.
        category: The retention category of its delivery records.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    notice: str
    mandatory: bool
    legal_basis: str
    category: Literal["contact.delivery", "contact.delivery.security"]
    template: str
    priority: Annotated[int, Field(ge=0, le=9)]


class CatalogueError(Exception):
    """policies/messages.yaml is not what it must be; the text says where."""


_types = TypeAdapter(dict[str, MessageType])


def parse(text: str) -> dict[str, MessageType]:
    """Return the message types in the YAML *text*, by name.

    Raises:
        CatalogueError: a field is missing, unknown or unfit.
    """
    try:
        return _types.validate_python(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise CatalogueError(f"messages.yaml: {error}") from error
