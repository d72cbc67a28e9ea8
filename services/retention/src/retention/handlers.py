"""What the retention service does when something happens elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import Any, Final

from retention import canary, store
from retention.calendar import civil_day
from retention.inventory import on_inventory
from retention.law import FinancialYear
from retention.purge import PurgeLoop
from retention.registry import Registry, overlapping
from retention.replay import on_restored
from retention.rights import Rights
from retention.store import AnchorRow, NewRecord, Ref, Told
from shared.cloudevents import Event
from shared.errors import Rejected
from shared.events.catalogue import (
    COMMANDS,
    EVENT_TYPES,
    FISCAL_YEARS,
    RECORDS,
    RESULTS,
    RIGHTS_COMMANDS,
    RIGHTS_REQUESTS,
    RIGHTS_RESULTS,
    SERVICES,
    STATUS,
)
from shared.events.gallra import (
    CanarySeen,
    HolderInventory,
    HolderRestored,
    PurgeCommand,
    PurgeResult,
    RightsCommand,
    RightsResult,
)
from shared.events.model import Data, OneMoment
from shared.events.platform import (
    AccountSettled,
    AnchorRevoked,
    FiscalYearClosed,
    FiscalYearEvent,
    RecordAnchored,
    RecordConverted,
    RecordGone,
    RecordLinked,
    RecordRef,
    RecordRegistered,
    RightsRequestReceived,
    ServiceEvent,
    ServiceReactivated,
    ServiceStarted,
    ServiceTerminated,
    TerminationRevoked,
)
from shared.holder import PurgeDesk
from shared.postgres import Connection

_TOPICS: Final = (
    RECORDS, SERVICES, FISCAL_YEARS, RESULTS, STATUS,
    COMMANDS, RIGHTS_COMMANDS, RIGHTS_REQUESTS, RIGHTS_RESULTS,
)  # fmt: skip
CONSUMES: Final = [event_type for event_type in EVENT_TYPES if event_type.topic in _TOPICS]

_STEPS: Final[dict[type, str]] = {
    ServiceStarted: "started",
    ServiceTerminated: "terminated",
    ServiceReactivated: "reactivated",
    TerminationRevoked: "termination-revoked",
}


@dataclass(slots=True)
class _Touched:
    """What a batch changed, so that deadlines are found anew once for all of it."""

    refs: set[Ref] = field(default_factory=set[Ref])
    customers: set[str] = field(default_factory=set[str])
    entities: set[str] = field(default_factory=set[str])


@dataclass(frozen=True, slots=True)
class Handlers:
    """Takes facts into the registry, answers of holders into the purge loop and requests.

    Attributes:
        desk: Takes orders to retention itself, which holds the files of requests.
    """

    registry: Registry
    loop: PurgeLoop
    rights: Rights
    desk: PurgeDesk

    async def handle(self, tx: Connection, events: Sequence[Event]) -> None:
        """Handle a batch: note all facts in order, then find the deadlines they change."""
        if any(_is_of_many(event.data) for event in events):
            await store.policies_change(tx)
        await self.registry.in_force.read(tx)
        touched = _Touched()
        for registrations, run in groupby(events, lambda e: isinstance(e.data, RecordRegistered)):
            if registrations:
                touched.refs |= await self._register(tx, list(run))
            else:
                await self._note(tx, list(run), touched)
        await self._refresh(tx, touched)

    async def _note(self, tx: Connection, events: Sequence[Event], touched: _Touched) -> None:
        for event in events:
            match event.data:
                case RecordRef() as record:
                    self.registry.check_holder(record.category, record.holder)
                    await _note(tx, event, record)
                    touched.refs.add(_ref(record))
                case ServiceEvent() as step:
                    await _note_step(tx, event, step)
                    touched.customers.add(step.customer_id)
                case AccountSettled() as settled:
                    account = (settled.customer_id, "settled", _day(settled), _told_by(event))
                    await store.add_customer_anchor(tx, *account)
                    touched.customers.add(settled.customer_id)
                case FiscalYearEvent() as year:
                    await _note_year(tx, event, year)
                    touched.entities.add(year.entity)
                case PurgeResult():
                    await self.loop.on_result(tx, event)
                case RightsRequestReceived() as request:
                    await self.rights.take(tx, request, event)
                case RightsResult() as result:
                    await self.rights.on_result(tx, result)
                case PurgeCommand() | RightsCommand():
                    await self.desk.take(tx, event)
                case _:
                    touched.refs |= await self._note_status(tx, event)

    async def _note_status(self, tx: Connection, event: Event) -> set[Ref]:
        """Note what a holder says of itself; return the records that are registered by that."""
        now = self.loop.clock.now()
        match event.data:
            case HolderRestored() as restored:
                self.registry.check_known(restored.holder)
                await on_restored(tx, restored, event.time, now)
            case HolderInventory() as told:
                for line in told.categories:
                    self.registry.check_holder(line.category, told.holder)
                await on_inventory(tx, told, event.time)
            case CanarySeen() as seen:
                versions = self.registry.history.terms(seen.category)
                return await canary.on_seen(tx, versions, event, seen, now)
            case _:
                raise Rejected(f"{event.type.name} is not for retention", code="unknown-type")
        return set()

    async def _register(self, tx: Connection, events: Sequence[Event]) -> set[Ref]:
        told: list[Told] = []
        for event in events:
            data: Any = event.data
            self.registry.check_holder(data.category, data.holder)
            scheme = data.vat_scheme or ""
            by = _told_by(event)
            told.append(
                Told(
                    NewRecord(
                        *_ref(data), data.entity, data.customer_id, data.group, scheme, event.time
                    ),
                    [AnchorRow(a.anchor_id, a.kind, _day(a), event=by) for a in data.anchors],
                    [(subject.token, subject.role) for subject in data.subjects],
                )
            )
        return await self.registry.register(tx, told)

    async def _refresh(self, tx: Connection, touched: _Touched) -> None:
        records = await store.records_by_ref(tx, touched.refs, lock=True) if touched.refs else []
        if touched.customers:
            records += await store.records_of(tx, customers=touched.customers)
        await self.registry.refresh(tx, list({r.id: r for r in records}.values()))
        if touched.entities:
            await self.registry.refresh_keys(tx, entities=touched.entities)


def _is_of_many(data: Data) -> bool:
    """Return whether *data* may change the deadlines of records that it does not name."""
    if isinstance(data, RecordRegistered):
        return data.group is not None
    return isinstance(data, FiscalYearEvent | ServiceEvent | AccountSettled | RecordLinked)


def _told_by(event: Event) -> str:
    return f"{event.source} {event.id}"


def _ref(record: RecordRef) -> Ref:
    return record.holder, record.category, record.record_id


def _day(moment: OneMoment) -> date:
    """Return the civil day; a day that was named wins over an instant."""
    return civil_day(moment.date or moment.at or date.min)


async def _note(tx: Connection, event: Event, record: RecordRef) -> None:
    """Note one fact about a record."""
    ref = _ref(record)
    match record:
        case RecordAnchored():
            told = (record.anchor_id, record.kind, _day(record), _told_by(event))
            await store.add_anchors(tx, [(*ref, *told)])
            if record.supersedes is not None:
                await store.withdraw_anchor(tx, ref, record.supersedes, "superseded")
            if record.vat_scheme is not None:
                _require(await store.set_scheme(tx, ref, record.vat_scheme))
        case AnchorRevoked():
            await store.withdraw_anchor(tx, ref, record.anchor_id, "revoked")
        case RecordLinked():
            _require(await store.link(tx, ref, record.group))
        case RecordConverted():
            told = (event.id, "converted", _day(record), _told_by(event))
            await store.add_anchors(tx, [(*ref, *told)])
        case RecordGone():
            await store.forget(tx, [ref], _day(record))
        case _:
            raise Rejected(f"{event.type.name} is not for retention", code="unknown-type")


def _require(known: bool) -> None:
    if not known:
        raise Rejected("the record is not registered", code="unknown-reference")


async def _note_step(tx: Connection, event: Event, step: ServiceEvent) -> None:
    at = None if step.date is not None else step.at
    kind = _STEPS[type(step)]
    row = (step.customer_id, step.service_id, kind, _day(step), at, _told_by(event))
    await store.add_service_event(tx, row)


async def _note_year(tx: Connection, event: Event, data: FiscalYearEvent) -> None:
    year = FinancialYear(data.start, data.end)
    known = (await store.fiscal_years(tx, [data.entity]))[data.entity]
    if other := overlapping(known, year):
        raise Rejected(f"{year} overlaps {other}", code="fiscal-year")
    closed = isinstance(data, FiscalYearClosed)
    row = (data.entity, year.first_day, year.last_day, closed, _told_by(event))
    await store.put_fiscal_year(tx, row)
