"""What the platform tells Gallra: actions, records, services, contacts, messages, fiscal years."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints

from shared.errors import Rejected
from shared.events.model import (
    ClosedData,
    Data,
    Day,
    Email,
    Instant,
    Name,
    OneMoment,
    Text,
    personal,
)

NOBODY = ("none", "none")


class Actor(ClosedData):
    """Who acted."""

    type: Literal["user", "api_user", "service", "staff"] = personal(*NOBODY)
    id: Annotated[Name, personal("identifier", "actor")]
    name: Annotated[Name | None, personal("contact", "actor")] = None
    on_behalf_of: Annotated[Name | None, personal("identifier", "actor")] = None


class Origin(ClosedData):
    """Where the action came from.

    The privacy notice does not list IP address and user agent for this log: the master log drops
    them unless a policy keeps them.
    """

    channel: Literal["portal", "api", "cli", "internal"] = personal(*NOBODY)
    ip: Annotated[Name | None, personal("network", "actor")] = None
    agent: Annotated[Text | None, personal("network", "actor")] = None


class Target(ClosedData):
    """What was acted upon."""

    type: Annotated[Name, personal(*NOBODY)]
    id: Annotated[Name | None, personal("identifier", "target")] = None
    name: Annotated[Name | None, personal("content", "target")] = None


class Request(ClosedData):
    """The call that carried the action."""

    id: Annotated[Name | None, personal(*NOBODY)] = None
    path: Annotated[Text | None, personal("content", "target")] = None


class Reason(ClosedData):
    """Why the outcome is what it is."""

    code: Annotated[Name | None, personal(*NOBODY)] = None
    text: Annotated[Text | None, personal("content", "target")] = None


class Change(ClosedData):
    """One field of the target that changed."""

    field: Annotated[Name, personal(*NOBODY)]
    old: Annotated[Text | None, personal("content", "target")] = None
    new: Annotated[Text | None, personal("content", "target")] = None


class ActionPerformed(ClosedData):
    """An account did, or tried to do, something in the portal or through the API."""

    v: Annotated[Literal[1], personal(*NOBODY)]
    action: Annotated[
        str,
        StringConstraints(max_length=200, pattern=r"^[a-z0-9_-]+(\.[a-z0-9_-]+)+$"),
        personal(*NOBODY),
    ]
    phase: Annotated[Literal["attempt", "result"], personal(*NOBODY)]
    outcome: Annotated[Literal["success", "failure", "denied", "unknown"], personal(*NOBODY)]
    actor: Actor
    origin: Origin
    target: Target
    customer_id: Annotated[Name, personal(*NOBODY)]
    request: Request | None = None
    reason: Reason | None = None
    changes: Annotated[tuple[Change, ...], Field(max_length=100)] = ()


class RecordRef(Data):
    """Which record of personal data is meant: its holder, category and id there."""

    holder: Name
    category: Name
    record_id: Name

    @property
    def key(self) -> str:
        """The Kafka key of events about the record."""
        return f"{self.holder}/{self.category}/{self.record_id}"


class Subject(Data):
    """A person a record tells of, by a random token, and in which role."""

    token: Name
    role: Name


class Anchor(OneMoment):
    """An occurrence that may start a retention period; a civil date wins over an instant."""

    anchor_id: Name
    kind: Name


class RecordRegistered(RecordRef):
    """A holder has stored a record of personal data that must go one day."""

    entity: Name
    customer_id: Name | None = None
    subjects: Annotated[tuple[Subject, ...], Field(max_length=1000)] = ()
    group: Name | None = None
    anchors: Annotated[tuple[Anchor, ...], Field(max_length=1000)] = ()
    vat_scheme: Literal["oss"] | None = None


class RecordAnchored(RecordRef, OneMoment):
    """Something happened to a record that its retention period may run from."""

    anchor_id: Name
    kind: Name
    vat_scheme: Literal["oss"] | None = None
    supersedes: Name | None = None


class AnchorRevoked(RecordRef):
    """An occurrence that had been reported did not happen."""

    anchor_id: Name


class RecordLinked(RecordRef):
    """A record belongs to a group of documents, such as an invoice and its credit note."""

    group: Name
    relation: Literal["corrects", "credits", "pays"]


class RecordConverted(RecordRef, OneMoment):
    """A paper original was transferred to electronic form (Bokföringslagen 7 kap. 6 §)."""


class RecordGone(RecordRef, OneMoment):
    """The holder deleted the record by itself, and says why."""

    why: Text


class ServiceEvent(OneMoment):
    """What the lifecycle events of a customer's service have in common."""

    customer_id: Name
    service_id: Name


class ServiceStarted(ServiceEvent):
    """A customer began to use a service; messages can be meant for those in its region."""

    region: Name | None = None


class ServiceTerminated(ServiceEvent):
    """A customer's service ended; the day is the last on which it was provided."""


class ServiceReactivated(ServiceEvent):
    """A terminated service was taken up again."""


class TerminationRevoked(ServiceEvent):
    """A reported termination did not happen."""


class AccountSettled(OneMoment):
    """The customer paid its last invoice."""

    customer_id: Name


class ContactRef(Data):
    """Which contact of which customer."""

    customer_id: Name
    contact_id: Name


class Basis(Data):
    """Why a contact may get a type of message that may be declined."""

    message_type: Name
    basis: Literal["consent", "customer-relationship"]
    since: Instant


class Contact(ContactRef):
    """A mail address that messages about the services go to."""

    email: Annotated[Email, personal("contact", "target")]
    roles: Annotated[list[Literal["billing", "technical", "dpo"]], Field(min_length=1)]
    locale: Literal["sv", "en"] = "en"
    kind: Literal["person", "group"] = "person"
    subject_token: Name
    bases: Annotated[tuple[Basis, ...], Field(max_length=100)] = ()


class ContactAdded(Contact):
    """A customer named a contact."""


class ContactChanged(Contact):
    """A contact is different now; the event holds all of it."""


class ContactVerified(ContactRef):
    """Somebody at the address confirmed that it is theirs."""


class ContactRemoved(ContactRef):
    """A contact is not to be written to any more."""


class Audience(Data):
    """Customers by a property instead of by name."""

    service: Name | None = None
    region: Name | None = None


class MaintenanceWindow(Data):
    """When a service is worked on, or was to be."""

    starts: Instant
    ends: Instant
    status: Literal["confirmed", "cancelled"] = "confirmed"


class Addressee(Data):
    """Who is written to without being a customer's contact."""

    email: Annotated[Email, personal("contact", "target")]
    locale: Literal["sv", "en"] = "en"
    customer_id: Name | None = None


class MessageRequested(Data):
    """Somebody is to be told something by mail.

    It is for contacts of *customers* in any of the *roles*; or *to* those who are named, if its
    type is such: who asked for their own data, who looks after a holder.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {
                    "required": ["customers", "roles"],
                    "properties": {
                        "customers": {"not": {"type": "null"}},
                        "roles": {"minItems": 1},
                        "to": {"maxItems": 0},
                    },
                },
                {
                    "required": ["to"],
                    "properties": {
                        "customers": {"type": "null"},
                        "roles": {"maxItems": 0},
                        "to": {"minItems": 1},
                    },
                },
            ]
        }
    )

    message_id: Name
    message_type: Name
    customers: (
        Annotated[list[Name], Field(min_length=1, max_length=100_000)]
        | Literal["all"]
        | Audience
        | None
    ) = None
    roles: list[Literal["billing", "technical", "dpo"]] = Field(default_factory=list[Any])
    to: list[Addressee] = Field(max_length=1000, default_factory=list[Addressee])
    template: Name
    params: dict[Name, Any] = Field(max_length=100, default_factory=dict[str, Any])
    send_after: Instant | None = None
    send_before: Instant | None = None
    maintenance_window: MaintenanceWindow | None = None
    supersedes: Name | None = None

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse content that is for nobody, or for both kinds of recipients."""
        if bool(self.to) == (self.customers is not None) or bool(self.to) == bool(self.roles):
            text = "it is either for customers, in roles, or to people named"
            raise Rejected(text, code="unknown-audience")


class Claimant(Data):
    """Who is to get the answer to a request."""

    email: Annotated[Email, personal("contact", "target")]
    name: Annotated[Name | None, personal("contact", "target")] = None
    locale: Literal["sv", "en"] = "sv"


class RightsRequestReceived(Data):
    """Somebody claims a right of GDPR chapter III; *details* say what is to be corrected, or why.

    *subjects* are the tokens by which records know the person.  Who claims it without an address
    to write to is answered by other means.
    """

    request_id: Name
    right: Literal["access", "rectify", "erase", "restrict", "object", "portability"]
    subjects: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    received_on: Day
    channel: Name
    claimant: Claimant | None = None
    details: Annotated[Text | None, personal("content", "target")] = None


class FiscalYearEvent(Data):
    """A financial year (*räkenskapsår*) of an entity; both days belong to it."""

    entity: Name
    start: Day
    end: Day


class FiscalYearPlanned(FiscalYearEvent):
    """An entity will close its books for this year; deadlines from it are provisional."""


class FiscalYearChanged(FiscalYearEvent):
    """The year that starts on this day ends on another day than planned."""


class FiscalYearClosed(FiscalYearEvent):
    """The books for this year are closed; deadlines from it are final."""
