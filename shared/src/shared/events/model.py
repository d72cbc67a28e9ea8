"""What all event models have in common, and the types of their fields."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from shared.addresses import normal
from shared.errors import Rejected

_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_CONTROLS)]
"""An identifier or a short name: 1 to 200 characters, none of them a control character."""

Text = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")]
"""Free text; a NUL is refused because PostgreSQL cannot store it."""

Day = Annotated[date, Field(ge=date(1900, 1, 1), le=date(2200, 12, 31))]
"""A civil day in the zone of the entity it belongs to; 1900 to 2200."""

Instant = AwareDatetime
"""A moment with its offset from UTC."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""


def _address(value: str) -> str:
    try:
        normal(value)
    except Rejected as error:
        raise ValueError(str(error)) from None
    return value


Email = Annotated[
    str,
    StringConstraints(max_length=320, pattern=_NO_CONTROLS),
    AfterValidator(_address),
    Field(json_schema_extra={"format": "idn-email"}),
]
"""An e-mail address (RFC 5321, RFC 6531), of a person or of a group."""


def personal(
    data_class: Literal["identifier", "contact", "network", "content", "none"],
    owner: Literal["actor", "target", "none"],
) -> Any:
    """Say of a field what kind of personal data it holds and whom it tells of."""
    return Field(json_schema_extra={"x-data-class": data_class, "x-owner": owner})


class Data(BaseModel):
    """The content of an event.

    Strict: a number is not a string.  Errors hide what was sent, for it may be personal.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        hide_input_in_errors=True,
        regex_engine="rust-regex",
    )


class ClosedData(Data):
    """Content in which an unknown field is an error, not something to overlook."""

    model_config = ConfigDict(extra="forbid")


class OneMoment(Data):
    """Content that happened on a civil day or at an instant; a day wins over an instant."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("date", "at")
            ]
        }
    )

    date: Day | None = None
    at: Instant | None = None

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse content that names neither."""
        if self.date is None and self.at is None:
            raise Rejected("neither date nor at says when it happened", code="invalid")
