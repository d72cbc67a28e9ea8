"""What Gallra tells: decisions, purge commands and results, deliveries, alerts, checkpoints."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from shared.events.model import Data, Day, Instant, Name, Sha256, Text


class PolicyActivated(Data):
    """A version of a retention policy is in force from now on.

    What follows the digest lets anyone check the purge receipts of the master log: entries of
    ``log_class`` are kept for the period after their day at least, and, if that is ``fixed``, no
    longer than ``grace_days`` after it; then they are erased, or anonymised.  Entries from before
    ``effective_from`` are kept as it was promised then if ``existing`` says ``keep``, except where
    a ``statute`` demands more.
    """

    category: Name
    version: int
    sha256: Sha256
    log_class: int | None = None
    keep_months: int | None = None
    keep_days: int | None = None
    grace_days: int | None = None
    fixed: bool = False
    action: Literal["erase", "anonymise"] = "erase"
    effective_from: Day | None = None
    existing: Literal["keep", "apply"] = "keep"
    statute: bool = False


class PolicyPlanApproved(Data):
    """Somebody approved a change of policies; *complete* if two people have now.

    So many records are *moved* by it, *earlier* of them to go sooner.
    """

    plan: Sha256
    categories: Annotated[tuple[Name, ...], Field(min_length=1)]
    moved: int
    earlier: int
    by: Name
    complete: bool


class HoldPlaced(Data):
    """A legal hold keeps what it covers from being purged.

    It covers the records that fit all that is named; of *first_day* and *last_day*, those whose
    time runs from a day between them.  So many as *beyond_recall* says were ordered to be erased
    before, and their holders may not have answered yet.
    """

    hold_id: Name
    customer_id: Name | None
    category: Name | None
    reason: Text
    review_on: Day
    by: Name
    epoch: int
    subject: Name | None = None
    holder: Name | None = None
    record_id: Name | None = None
    first_day: Day | None = None
    last_day: Day | None = None
    beyond_recall: Annotated[int, Field(ge=0)] = 0


class HoldReleaseAsked(Data):
    """Somebody asked for a legal hold to be lifted; another person must agree."""

    hold_id: Name
    by: Name


class HoldReleased(Data):
    """A legal hold was lifted; its grace period begins."""

    hold_id: Name
    by: Name
    epoch: int
    asked_by: Name | None = None


class Counts(Data):
    """What became of the records of a chunk or a job."""

    erased: int = 0
    anonymised: int = 0
    not_found: int = 0
    refused: int = 0
    failed: int = 0


class ErasureAccepted(Data):
    """A request to erase a record was granted.

    It is kept through that day at the latest, by law or by a promise that ends before; with no day,
    while a hold lasts or the law keeps it for a time that is not known yet.
    """

    holder: Name
    category: Name
    record_id: Name
    keep_through: Day | None
    by: Name


class PurgeJobOpened(Data):
    """Records of a category are due and their purge was ordered."""

    job_id: Name
    category: Name
    reason: Literal["deadline", "erasure-request", "restore-replay"]
    policy_version: int
    records: int
    chunks: int
    holders: list[Name]
    must_purge_by: Instant


class PurgeJobClosed(Data):
    """Every holder answered for every chunk of a purge job.

    *statement* is the SHA-256 of what the deletion certificate says, in canonical JSON.
    """

    job_id: Name
    category: Name
    policy_version: int
    counts: Counts
    holders: list[Name]
    completed_at: Instant
    statement: Sha256 | None = None


class PurgeJobFrozen(Data):
    """More of a category is due than is usual for a day; nothing of it goes until two approve."""

    category: Name
    day: Day
    records: int
    why: Text


class PurgeJobApproved(Data):
    """Somebody approved a frozen purge of that many records; *complete* if two people have now."""

    category: Name
    day: Day
    records: int
    by: Name
    complete: bool


class ReportIssued(Data):
    """A retention report was made.

    The hash is of the file, and is the id of the event too: who has a file finds its entry, and a
    report that is issued again is the same event.  *evidence* is the hash of what is attached to a
    PDF: its rows, the checkpoint and the proofs, joined by zero bytes.
    """

    report_id: Name
    period_from: Day
    period_to: Day
    as_of: Day
    sha256: Sha256
    format: Literal["json", "jsonl", "csv", "xlsx", "pdf"] | None = None
    evidence: Sha256 | None = None


class RightsDecision(Data):
    """What is answered about a category of data; refused until days from the first to the last."""

    category: Name
    decision: Literal["granted", "partly", "refused", "no_data", "cannot_identify"]
    article: Name
    records: Annotated[int, Field(ge=0)] = 0
    until_first: Day | None = None
    until_last: Day | None = None
    by_hand: bool = False


class RightsCaseChanged(Data):
    """A request about the rights of a person went a step; nothing here tells who the person is.

    It is to be answered by the end of *due_on*; with no day, while proof of identity is waited for.
    *by* is the service itself where nobody did it.
    """

    case_id: Name
    right: Literal["access", "rectify", "erase", "restrict", "object", "portability"]
    step: Literal[
        "receive", "ask-identity", "confirm-identity", "refuse-identity", "extend", "collected",
        "decide", "return", "approve", "answer", "fetch", "lift", "close", "withdraw",
    ]  # fmt: skip
    state: Name
    by: Name
    due_on: Day | None
    received_on: Day | None = None
    channel: Name | None = None
    reason: Literal["complexity", "number"] | None = None
    decisions: Annotated[tuple[RightsDecision, ...], Field(max_length=500)] = ()


class RightsCommand(Data):
    """An order to a holder about records of a person who claims a right."""

    command_id: Name
    request_id: Name
    holder: Name
    category: Name
    refs: Annotated[list[Name], Field(min_length=1, max_length=500)]


SealedPath = Annotated[str, StringConstraints(pattern=r"^rights/[0-9a-f-]{36}$")]
"""Where a sealed object lies in the store that retention and the holders share."""


class RightsCopy(RightsCommand):
    """An order to lay a copy of records, sealed to a key, at *object*; void after *not_after*."""

    seal_to: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{43}=$")]
    object: SealedPath
    not_after: Instant


class RightsCollect(RightsCopy):
    """Give a copy of these records (GDPR article 15(3))."""


class RightsExport(RightsCopy):
    """Give what the person provided in these records, for machines to read (GDPR article 20)."""


class RightsRectify(RightsCommand):
    """Have these records corrected; what is wrong with them is in the file of the case."""


class RightsRestrict(RightsCommand):
    """Hide these records from every use but storage (GDPR article 18); they are purged on time."""


class RightsLift(RightsCommand):
    """Show these records again: the restriction is over."""


class RightsObject(RightsCommand):
    """Stop the use of these records that the person objected to, marketing at once."""


class RightsResult(Data):
    """A holder's answer to an order; *by-hand* if it leaves it to people.

    A copy lies, sealed, at *object*; the digest is of the sealed bytes.
    """

    command_id: Name
    request_id: Name
    holder: Name
    outcome: Literal["done", "by-hand"]
    records: Annotated[int, Field(ge=0)] = 0
    object: SealedPath | None = None
    sha256: Sha256 | None = None


class PurgeCommand(Data):
    """An order to a holder about one chunk of records.

    The hash covers every other field, so that what was approved, sent, carried out and attested
    is the same thing; see :func:`shared.holder.command_hash`.
    """

    job_id: Name
    chunk_id: Name
    holder: Name
    category: Name
    action: Literal["erase", "anonymise"]
    refs: Annotated[list[Name], Field(min_length=1, max_length=500)]
    reason: Literal["deadline", "erasure-request", "restore-replay"]
    policy_version: int
    purge_from: Instant
    hold_epoch: int
    not_after: Instant
    command_hash: Sha256


class PurgePrepare(PurgeCommand):
    """Quarantine these records, or say which may not go and until when."""


class PurgeCommit(PurgeCommand):
    """Erase what was quarantined."""


class PurgeCancel(PurgeCommand):
    """Take these records out of quarantine again."""


class PurgeException(Data):
    """A record that was not purged, why, and until when if that is known."""

    ref: Name
    code: Name
    until: Day | None = None


class PurgeResult(Data):
    """A holder's answer for one chunk and phase."""

    chunk_id: Name
    holder: Name
    phase: Literal["prepare", "commit", "cancel"]
    command_hash: Sha256
    hold_epoch: int
    counts: Counts
    exceptions: Annotated[tuple[PurgeException, ...], Field(max_length=500)] = ()
    method: Literal["clear", "purge", "destroy"]
    completed_at: Instant
    residual_until: Instant | None = None


class HolderRestored(Data):
    """A holder was restored from a backup: what it purged since then may be there again.

    *from_backup_at* is when the backup was begun, by the clock that stamps the holder's answers:
    what was committed later is not in it.  Earlier is safe, later is not.
    """

    holder: Name
    from_backup_at: Instant


class Inventory(Data):
    """How many records of a category a holder has, and which.

    Without those that it has erased or anonymised; with or without all that are in quarantine.  For
    the digest see :func:`shared.holder.inventory_digest`.
    """

    category: Name
    count: Annotated[int, Field(ge=0)]
    digest: Sha256


class HolderInventory(Data):
    """What a holder has at an instant; it speaks of no category that it does not name."""

    holder: Name
    as_of: Instant
    categories: Annotated[list[Inventory], Field(max_length=500)]


CanaryId = Annotated[str, StringConstraints(pattern=r"^canary-[0-9a-f]{32}$")]
"""The record id of a canary, which no record of a real person can have."""


class CanaryCommand(Data):
    """A question to a holder about a canary: a record of somebody who does not exist."""

    holder: Name
    category: Name
    record_id: CanaryId


class CanaryPlant(CanaryCommand):
    """Store a synthetic record of this category, then say whether it is there."""


class CanaryLook(CanaryCommand):
    """Say whether anything of a canary is left."""


class CanarySeen(Data):
    """A holder's answer: whether it found the canary, when asked in that phase."""

    holder: Name
    category: Name
    record_id: CanaryId
    phase: Literal["plant", "look"]
    found: bool


DeliveryState = Literal[
    "queued", "sending", "accepted", "deferred", "bounced", "complained", "suppressed", "expired",
    "unknown",
]  # fmt: skip


class DeliveryChanged(Data):
    """A mail to one recipient is in another state."""

    delivery_id: Name
    message_id: Name
    message_type: Name
    customer_id: Name | None
    recipient_token: Name
    state: DeliveryState
    at: Instant


class AlertRaised(Data):
    """Something needs a person now."""

    fingerprint: Name
    severity: Literal["info", "warning", "critical"]
    summary: Text
    labels: dict[Name, Name] = Field(max_length=50, default_factory=dict[str, str])
    runbook: Name | None = None


class AlertResolved(AlertRaised):
    """What an alert told of is over."""


class AlertAcknowledged(Data):
    """Somebody looks after an alert until then: nobody else is told of it."""

    fingerprint: Name
    by: Name
    until: Instant


class PersonalDataViewed(Data):
    """Somebody was about to be shown what tells of people, as far as it is not in the log itself.

    Attributes:
        purpose: What was asked for, such as ``deliveries``.
        by: Who asked; ``-`` where the service lets in who brings no token.
        count: How much was shown.
    """

    service: Name
    purpose: Name
    by: Name
    count: Annotated[int, Field(ge=0)]


class SilencePlaced(Data):
    """Nobody is told of alerts that fit all *matchers*, such as ``holder="crm"``, for a while."""

    silence_id: Name
    matchers: Annotated[tuple[Text, ...], Field(min_length=1, max_length=50)]
    reason: Text
    by: Name
    starts_at: Instant
    ends_at: Instant


class SilenceEnded(Data):
    """Somebody ended a silence before its time."""

    silence_id: Name
    by: Name


class DeadLettersSettled(Data):
    """Somebody had events that were set aside sent again, or let them go for good.

    Attributes:
        topic: Where the events lay, with the prefix.
        consumer: The group that had set them aside.
        letters: Where on the topic each lay: partition/offset.
    """

    topic: Name
    consumer: Name
    settled: Literal["redriven", "dropped"]
    letters: Annotated[tuple[Name, ...], Field(min_length=1, max_length=500)]
    by: Name


class SuppressionLifted(Data):
    """Somebody had mail sent again to an address that had not worked.

    Attributes:
        record_id: What retention knows the suppression by; it tells nothing of the address.
    """

    record_id: Name
    scope: Name
    reason: Name
    by: Name


class CheckpointPublished(Data):
    """The master log signed its state; the note is a C2SP tlog-checkpoint."""

    origin: Name
    size: int
    checkpoint: Text
