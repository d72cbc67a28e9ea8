"""Which event travels on which topic, under which key, read by whom."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from shared.events import gallra, platform
from shared.events.model import Data

_DAY_MS: Final = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """A Kafka topic as it is declared.

    Attributes:
        name: Without the prefix of an environment.
        key: What the Kafka key is, in words.
        readers: The consumer groups of ours; the first one sets aside what nobody could read, so
            that a malformed event has one dead letter and not one for each reader.
        retention_ms: How long the broker keeps events; seven days at most where an event can hold
            personal data, for the bus is a holder as well.
    """

    name: str
    key: str
    readers: tuple[str, ...] = ()
    retention_ms: int = 7 * _DAY_MS
    partitions: int = 3

    @property
    def dead_letters(self) -> str:
        """The topic for what a reader could not accept."""
        return f"{self.name}.dlq"


@dataclass(frozen=True, slots=True)
class EventType:
    """A kind of event: its ``ce_type``, topic, model, and how its key follows from its content."""

    name: str
    topic: Topic
    model: type[Data]
    key: Callable[[Any], str]


_HOLDERS: Final = ("audit-log", "notifier", "retention")

ACTIONS = Topic("platform.actions.v1", "customer id", ("audit-log",), partitions=12)
RECORDS = Topic("platform.records.v1", "holder/category/record id", ("retention",))
SERVICES = Topic("platform.services.v1", "customer id", ("retention", "notifier"))
CONTACTS = Topic("platform.contacts.v1", "customer id", ("notifier",))
MESSAGES = Topic("platform.messages.v1", "message id", ("notifier",))
FISCAL_YEARS = Topic("finance.fiscal-years.v1", "entity", ("retention",))
DECISIONS = Topic("retention.decisions.v1", "decision subject", ("audit-log",))
COMMANDS = Topic("retention.purge-commands.v1", "holder", _HOLDERS)
RIGHTS_REQUESTS = Topic("rights.requests.v1", "request id", ("retention",))
RIGHTS_COMMANDS = Topic("retention.rights-commands.v1", "request id:holder", _HOLDERS)
RIGHTS_RESULTS = Topic("holders.rights-results.v1", "request id:holder", ("retention",))
RESULTS = Topic("holders.purge-results.v1", "chunk id", ("retention",))
STATUS = Topic("holders.status.v1", "holder", ("retention",))
DELIVERIES = Topic("notifier.deliveries.v1", "message id:recipient token", ("audit-log",))
ALERTS = Topic("ops.alerts.v1", "fingerprint or silence id", ("notifier", "audit-log"))
LOOKS = Topic("ops.looks.v1", "service", ("audit-log",))
OPERATIONS = Topic("ops.decisions.v1", "decision subject", ("audit-log",))
CHECKPOINTS = Topic("audit.checkpoints.v1", "origin")

TOPICS: Final = (
    ACTIONS, RECORDS, SERVICES, CONTACTS, MESSAGES, FISCAL_YEARS,
    DECISIONS, COMMANDS, RESULTS, STATUS, DELIVERIES, ALERTS, LOOKS, OPERATIONS,
    CHECKPOINTS,
    RIGHTS_REQUESTS, RIGHTS_COMMANDS, RIGHTS_RESULTS,
)  # fmt: skip


def _customer(data: Any) -> str:
    return data.customer_id


def _record(data: Any) -> str:
    return data.key


def _holder(data: Any) -> str:
    return data.holder


def _request(data: Any) -> str:
    return f"{data.request_id}:{data.holder}"


EVENT_TYPES: Final = (
    EventType("platform.action.performed.v1", ACTIONS, platform.ActionPerformed, _customer),
    EventType("platform.record.registered.v1", RECORDS, platform.RecordRegistered, _record),
    EventType("platform.record.anchored.v1", RECORDS, platform.RecordAnchored, _record),
    EventType("platform.record.anchor-revoked.v1", RECORDS, platform.AnchorRevoked, _record),
    EventType("platform.record.linked.v1", RECORDS, platform.RecordLinked, _record),
    EventType("platform.record.converted.v1", RECORDS, platform.RecordConverted, _record),
    EventType("platform.record.gone.v1", RECORDS, platform.RecordGone, _record),
    EventType("platform.service.started.v1", SERVICES, platform.ServiceStarted, _customer),
    EventType("platform.service.terminated.v1", SERVICES, platform.ServiceTerminated, _customer),
    EventType("platform.service.reactivated.v1", SERVICES, platform.ServiceReactivated, _customer),
    EventType(
        "platform.service.termination-revoked.v1", SERVICES, platform.TerminationRevoked, _customer
    ),
    EventType("platform.account.settled.v1", SERVICES, platform.AccountSettled, _customer),
    EventType("platform.contact.added.v1", CONTACTS, platform.ContactAdded, _customer),
    EventType("platform.contact.changed.v1", CONTACTS, platform.ContactChanged, _customer),
    EventType("platform.contact.verified.v1", CONTACTS, platform.ContactVerified, _customer),
    EventType("platform.contact.removed.v1", CONTACTS, platform.ContactRemoved, _customer),
    EventType(
        "platform.message.requested.v1", MESSAGES, platform.MessageRequested, lambda d: d.message_id
    ),
    EventType(
        "finance.fiscal-year.planned.v1",
        FISCAL_YEARS,
        platform.FiscalYearPlanned,
        lambda d: d.entity,
    ),
    EventType(
        "finance.fiscal-year.changed.v1",
        FISCAL_YEARS,
        platform.FiscalYearChanged,
        lambda d: d.entity,
    ),
    EventType(
        "finance.fiscal-year.closed.v1", FISCAL_YEARS, platform.FiscalYearClosed, lambda d: d.entity
    ),
    EventType(
        "retention.policy.activated.v1", DECISIONS, gallra.PolicyActivated, lambda d: d.category
    ),
    EventType(
        "retention.policy-plan.approved.v1", DECISIONS, gallra.PolicyPlanApproved, lambda d: d.plan
    ),
    EventType("retention.hold.placed.v1", DECISIONS, gallra.HoldPlaced, lambda d: d.hold_id),
    EventType(
        "retention.hold.release-asked.v1", DECISIONS, gallra.HoldReleaseAsked, lambda d: d.hold_id
    ),
    EventType("retention.hold.released.v1", DECISIONS, gallra.HoldReleased, lambda d: d.hold_id),
    EventType(
        "retention.erasure.accepted.v1",
        DECISIONS,
        gallra.ErasureAccepted,
        lambda d: f"{d.holder}/{d.category}/{d.record_id}",
    ),
    EventType(
        "retention.purge-job.opened.v1", DECISIONS, gallra.PurgeJobOpened, lambda d: d.job_id
    ),
    EventType(
        "retention.purge-job.closed.v1", DECISIONS, gallra.PurgeJobClosed, lambda d: d.job_id
    ),
    EventType(
        "retention.purge-job.frozen.v1", DECISIONS, gallra.PurgeJobFrozen, lambda d: d.category
    ),
    EventType(
        "retention.purge-job.approved.v1", DECISIONS, gallra.PurgeJobApproved, lambda d: d.category
    ),
    EventType("retention.report.issued.v1", DECISIONS, gallra.ReportIssued, lambda d: d.report_id),
    EventType(
        "retention.rights-case.changed.v1", DECISIONS, gallra.RightsCaseChanged, lambda d: d.case_id
    ),
    EventType("retention.purge.prepare.v1", COMMANDS, gallra.PurgePrepare, _holder),
    EventType("retention.purge.commit.v1", COMMANDS, gallra.PurgeCommit, _holder),
    EventType("retention.purge.cancel.v1", COMMANDS, gallra.PurgeCancel, _holder),
    EventType("retention.canary.plant.v1", COMMANDS, gallra.CanaryPlant, _holder),
    EventType("retention.canary.look.v1", COMMANDS, gallra.CanaryLook, _holder),
    EventType("holders.purge.result.v1", RESULTS, gallra.PurgeResult, lambda d: d.chunk_id),
    EventType(
        "rights.request.received.v1",
        RIGHTS_REQUESTS,
        platform.RightsRequestReceived,
        lambda d: d.request_id,
    ),
    EventType("retention.rights.collect.v1", RIGHTS_COMMANDS, gallra.RightsCollect, _request),
    EventType("retention.rights.export.v1", RIGHTS_COMMANDS, gallra.RightsExport, _request),
    EventType("retention.rights.rectify.v1", RIGHTS_COMMANDS, gallra.RightsRectify, _request),
    EventType("retention.rights.restrict.v1", RIGHTS_COMMANDS, gallra.RightsRestrict, _request),
    EventType("retention.rights.lift.v1", RIGHTS_COMMANDS, gallra.RightsLift, _request),
    EventType("retention.rights.object.v1", RIGHTS_COMMANDS, gallra.RightsObject, _request),
    EventType("holders.rights.result.v1", RIGHTS_RESULTS, gallra.RightsResult, _request),
    EventType("holders.restored.v1", STATUS, gallra.HolderRestored, _holder),
    EventType("holders.inventory.v1", STATUS, gallra.HolderInventory, _holder),
    EventType("holders.canary.seen.v1", STATUS, gallra.CanarySeen, _holder),
    EventType(
        "notifier.delivery.changed.v1",
        DELIVERIES,
        gallra.DeliveryChanged,
        lambda d: f"{d.message_id}:{d.recipient_token}",
    ),
    EventType("ops.alert.raised.v1", ALERTS, gallra.AlertRaised, lambda d: d.fingerprint),
    EventType("ops.alert.resolved.v1", ALERTS, gallra.AlertResolved, lambda d: d.fingerprint),
    EventType(
        "ops.alert.acknowledged.v1", ALERTS, gallra.AlertAcknowledged, lambda d: d.fingerprint
    ),
    EventType("ops.silence.placed.v1", ALERTS, gallra.SilencePlaced, lambda d: d.silence_id),
    EventType("ops.silence.ended.v1", ALERTS, gallra.SilenceEnded, lambda d: d.silence_id),
    EventType(
        "ops.dead-letters.settled.v1", OPERATIONS, gallra.DeadLettersSettled, lambda d: d.topic
    ),
    EventType(
        "ops.suppression.lifted.v1", OPERATIONS, gallra.SuppressionLifted, lambda d: d.record_id
    ),
    EventType("ops.personal-data.viewed.v1", LOOKS, gallra.PersonalDataViewed, lambda d: d.service),
    EventType(
        "audit.checkpoint.published.v1", CHECKPOINTS, gallra.CheckpointPublished, lambda d: d.origin
    ),
)

BY_TYPE: Final = {event_type.name: event_type for event_type in EVENT_TYPES}
_BY_MODEL: Final = {event_type.model: event_type for event_type in EVENT_TYPES}


def event_type_of(data: Data) -> EventType:
    """Return the type of the event whose content *data* is."""
    return _BY_MODEL[type(data)]
