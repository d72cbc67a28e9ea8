"""The message types of the privacy notice, as data: who gets them, and who may refuse; pure."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from shared.document import parse

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


_types = TypeAdapter(dict[str, MessageType])


def read(text: str) -> dict[str, MessageType]:
    """Return the message types in the YAML *text* of messages.yaml, by name.

    Raises:
        DocumentError: a field is missing, unknown or unfit; the text says where.
    """
    return parse("messages.yaml", text, _types)
