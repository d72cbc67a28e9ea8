"""The message types, as data: who gets them, who may refuse, what is done in doubt; pure."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from notifier.letter import Footing
from shared.document import parse

Role = Literal["billing", "technical", "dpo"]
Suppressed = Literal["unsubscribed", "complaint", "hard-bounce"]


class MessageType(BaseModel):
    """One kind of message.

    Attributes:
        notice: The words of the privacy notice that it stands for; None for one of our own.
        mandatory: True where no recipient may refuse it; an optional one needs a recorded basis.
        roles: Contacts who get it, whichever others a request names.
        direct: True where a request names addresses, instead of customers.
        category: The retention category of its delivery records.
        priority: Lower goes first.
        suppressed_by: Why it is not sent to an address.
        in_doubt: What is done where the mail server may or may not have taken it: the ledger tells
            it (``report``), a person is asked (``ask``), or it is sent again under the same
            Message-ID (``resend``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    notice: str | None = None
    mandatory: bool
    legal_basis: str
    roles: tuple[Role, ...] = ()
    direct: bool = False
    category: Literal["contact.delivery", "contact.delivery.security"]
    template: str
    priority: Annotated[int, Field(ge=0, le=9)]
    suppressed_by: frozenset[Suppressed]
    in_doubt: Literal["report", "ask", "resend"]

    @model_validator(mode="after")
    def _cannot_be_refused(self) -> Self:
        if self.mandatory and self.suppressed_by - {"hard-bounce"}:
            raise ValueError("a mandatory message is suppressed by a hard-bounce alone")
        return self

    @property
    def footing(self) -> Footing:
        """What its mails say of why they come."""
        return Footing(self.legal_basis, refusable=not self.mandatory)


_types = TypeAdapter(dict[str, MessageType])


def read(text: str) -> dict[str, MessageType]:
    """Return the message types in the YAML *text* of messages.yaml, by name.

    Raises:
        DocumentError: a field is missing, unknown or unfit; the text says where.
    """
    return parse("messages.yaml", text, _types)
