"""SQL of the retention registry: records, facts, deadline keys, holds; no rule is decided here."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from retention.anchor import ServiceChange
from retention.policy import Policy
from shared.postgres import Connection

Ref: TypeAlias = tuple[str, str, str]
"""Holder, category and record id."""

Identity: TypeAlias = tuple[str, str, str, str, date | None, str]
"""What a deadline depends on: entity, category, VAT scheme, anchor state and day, what lacks."""

KEY: Final = (
    "entity", "category", "scheme", "anchor_state", "anchor_day", "lacking", "policy_version",
    "status", "why", "provisional", "keep_through", "statutory", "floor", "purge_from",
    "must_purge_by",
)  # fmt: skip
"""What is kept of a deadline key: its identity, and what was computed for it."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record of personal data as the registry knows it."""

    id: int
    holder: str
    category: str
    record_id: str
    entity: str
    customer_id: str | None
    document: str | None
    scheme: str

    @property
    def ref(self) -> Ref:
        """What identifies it outside."""
        return self.holder, self.category, self.record_id


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record about to be registered."""

    holder: str
    category: str
    record_id: str
    entity: str
    customer_id: str | None
    document: str | None
    scheme: str
    registered_at: datetime

    @property
    def ref(self) -> Ref:
        """What identifies it outside."""
        return self.holder, self.category, self.record_id


@dataclass(frozen=True, slots=True)
class AnchorRow:
    """A reported occurrence; its kind and day are unknown until the report itself came."""

    anchor_id: str
    kind: str | None
    day: date | None
    superseded: bool = False
    revoked: bool = False
    event: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What a registration tells: a record, what happened in it, and token and role of persons."""

    record: NewRecord
    anchors: Sequence[AnchorRow] = ()
    subjects: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One step in the life of a customer's service."""

    service_id: str
    kind: ServiceChange
    day: date
    at: datetime | None
    event: str


async def known(tx: Connection, refs: Collection[Ref]) -> set[Ref]:
    """Return those of *refs* that are registered, or of which some occurrence was told."""
    rows = await tx.fetch(
        """
        WITH wanted AS (
            SELECT *
              FROM unnest($1::text[], $2::text[], $3::text[]) AS ref (holder, category, record_id)
        )
        SELECT holder, category, record_id
          FROM record JOIN wanted USING (holder, category, record_id)
         UNION ALL
        SELECT holder, category, record_id
          FROM anchor JOIN wanted USING (holder, category, record_id)
        """,
        *([ref[place] for ref in refs] for place in range(3)),
    )
    return {tuple(row) for row in rows}


async def add_new(tx: Connection, told: Sequence[Told], keys: Sequence[int]) -> None:
    """Add records of which nothing was known, with the ids of their deadline keys.

    These keys are shared before, so that no purge has come further than the ids given here.
    """
    rows = await tx.fetch(
        "SELECT nextval('record_id_seq') AS id FROM generate_series(1, $1)", len(told)
    )
    ids = [row["id"] for row in rows]
    await tx.copy_records_to_table(
        "record",
        columns=["id", "key", *NewRecord.__slots__],
        records=[
            (id_, key, *(getattr(each.record, name) for name in NewRecord.__slots__))
            for id_, key, each in zip(ids, keys, told, strict=True)
        ],
    )
    await tx.copy_records_to_table(
        "anchor",
        columns=["holder", "category", "record_id", "anchor_id", "kind", "day", "event"],
        records=[
            (*each.record.ref, a.anchor_id, a.kind, a.day, a.event)
            for each in told
            for a in {a.anchor_id: a for a in each.anchors}.values()
        ],
    )
    await tx.copy_records_to_table(
        "record_subject",
        columns=["record", "token", "role"],
        records=[
            (id_, *subject)
            for id_, each in zip(ids, told, strict=True)
            for subject in set(each.subjects)
        ],
    )


async def add(tx: Connection, told: Sequence[Told]) -> None:
    """Add records of which something may be known; what is, stays, and what was missing comes in.

    They have no deadline key by that.
    """
    await tx.executemany(
        """
        INSERT INTO record (holder, category, record_id, entity, customer_id, document, scheme,
                            registered_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (holder, category, record_id) DO UPDATE
                SET customer_id = coalesce(record.customer_id, EXCLUDED.customer_id),
                    document = coalesce(record.document, EXCLUDED.document),
                    scheme = greatest(record.scheme, EXCLUDED.scheme)
        """,
        [[getattr(each.record, name) for name in NewRecord.__slots__] for each in told],
    )
    await add_anchors(
        tx,
        [
            (*each.record.ref, a.anchor_id, a.kind, a.day, a.event)
            for each in told
            for a in each.anchors
        ],
    )
    await tx.executemany(
        """
        INSERT INTO record_subject (record, token, role)
             SELECT id, $4, $5
               FROM record
              WHERE (holder, category, record_id) = ($1, $2, $3)
        ON CONFLICT DO NOTHING
        """,
        [(*each.record.ref, *subject) for each in told for subject in each.subjects],
    )


async def set_scheme(tx: Connection, ref: Ref, scheme: str) -> bool:
    """Note the VAT scheme of a record; return False if it is not registered."""
    status = await tx.execute(
        "UPDATE record SET scheme = $4 WHERE (holder, category, record_id) = ($1, $2, $3)",
        *ref,
        scheme,
    )
    return status == "UPDATE 1"


async def link(tx: Connection, ref: Ref, document: str) -> bool:
    """Put a record into a group of documents; return False if it is not registered."""
    status = await tx.execute(
        "UPDATE record SET document = $4 WHERE (holder, category, record_id) = ($1, $2, $3)",
        *ref,
        document,
    )
    return status == "UPDATE 1"


COUNT_GONE: Final = """
    counted AS (
        INSERT INTO record_gone
             SELECT gone.category, (registered_at AT TIME ZONE 'Europe/Stockholm')::date, $2::date,
                    keep_through, purge_from, must_purge_by, count(*)
               FROM gone
               LEFT JOIN deadline_key ON deadline_key.id = gone.key
              WHERE record_id !~ '^canary-[0-9a-f]{32}$'
           GROUP BY 1, 2, 3, 4, 5, 6
    )
"""
"""Counts records of a query ``gone`` as gone on the day $2; canaries count for nothing."""


async def forget(tx: Connection, refs: Sequence[Ref], day: date) -> None:
    """Delete records that are gone since *day*, and what was known of them."""
    holders, categories, record_ids = zip(*refs, strict=True)
    await tx.execute(
        f"""
        WITH wanted AS (
            SELECT * FROM unnest($1::text[], $3::text[], $4::text[])
                          AS named (holder, category, record_id)
        ), gone AS (
            DELETE FROM record
             USING wanted
             WHERE (record.holder, record.category, record.record_id)
                 = (wanted.holder, wanted.category, wanted.record_id)
         RETURNING id, key, record.category, record.record_id, registered_at
        ), {COUNT_GONE}, item AS (
            DELETE FROM purge_item USING gone WHERE purge_item.record = gone.id
        ), told_of AS (
            DELETE FROM record_subject USING gone WHERE record_subject.record = gone.id
        ), asked AS (
            DELETE FROM erasure USING gone WHERE erasure.record = gone.id
        )
        DELETE FROM anchor
         USING wanted
         WHERE (anchor.holder, anchor.category, anchor.record_id)
             = (wanted.holder, wanted.category, wanted.record_id)
        """,  # noqa: S608 - a constant query
        holders,
        day,
        categories,
        record_ids,
    )


async def add_anchors(tx: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add occurrences (holder, category, id, anchor id, kind, day, event); the last one counts."""
    newest = {row[:4]: row for row in rows}
    await tx.execute(
        """
        INSERT INTO anchor (holder, category, record_id, anchor_id, kind, day, event)
             SELECT *
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::date[],
                           $7::text[])
        ON CONFLICT (holder, category, record_id, anchor_id) DO UPDATE
                SET kind = EXCLUDED.kind, day = EXCLUDED.day, event = EXCLUDED.event
        """,
        *([row[place] for row in newest.values()] for place in range(7)),
    )


async def withdraw_anchor(tx: Connection, ref: Ref, anchor_id: str, how: str) -> None:
    """Mark an occurrence ``superseded`` or ``revoked``, whether it was heard of yet or not."""
    await tx.execute(
        f"""
        INSERT INTO anchor (holder, category, record_id, anchor_id, {how})
             VALUES ($1, $2, $3, $4, true)
        ON CONFLICT (holder, category, record_id, anchor_id) DO UPDATE SET {how} = true
        """,  # noqa: S608 - one of two column names, from the handlers
        *ref,
        anchor_id,
    )


async def add_service_event(tx: Connection, row: tuple[Any, ...]) -> None:
    """Add a step (customer, service, kind, day, instant or None, event)."""
    await tx.execute(
        """
        INSERT INTO service_event (customer_id, service_id, kind, day, at, event)
             VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING
        """,
        *row,
    )


async def add_customer_anchor(
    tx: Connection, customer_id: str, kind: str, day: date, event: str
) -> None:
    """Add an occurrence that all records of a customer share."""
    await tx.execute(
        "INSERT INTO customer_anchor VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        customer_id,
        kind,
        day,
        event,
    )


async def put_fiscal_year(tx: Connection, row: tuple[str, date, date, bool, str]) -> None:
    """Set the last day of the year that starts on a day; a closed year stays closed.

    The row is entity, first day, last day, whether closed, and event.
    """
    await tx.execute(
        """
        INSERT INTO fiscal_year (entity, first_day, last_day, closed, event)
             VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (entity, first_day) DO UPDATE
                SET last_day = EXCLUDED.last_day,
                    closed = fiscal_year.closed OR EXCLUDED.closed,
                    event = EXCLUDED.event
        """,
        *row,
    )


async def fiscal_years(
    tx: Connection, entities: Collection[str]
) -> dict[str, list[tuple[date, date, bool, str]]]:
    """Return first day, last day, whether closed and event of each entity's years, in order."""
    rows = await tx.fetch(
        """
        SELECT entity, first_day, last_day, closed, event
          FROM fiscal_year
         WHERE entity = ANY($1)
      ORDER BY entity, first_day
        """,
        list(entities),
    )
    years: dict[str, list[tuple[date, date, bool, str]]] = {entity: [] for entity in entities}
    for entity, *year in rows:
        years[entity].append(tuple(year))
    return years


_RECORD = "id, holder, category, record_id, entity, customer_id, document, scheme"


async def records_by_ref(
    tx: Connection, refs: Collection[Ref], *, lock: bool = False
) -> list[Record]:
    """Return the records that exist among *refs*, and all others of their document groups.

    With *lock* they stay as they are until *tx* ends: who notes a fact of one waits for who notes
    another.
    """
    rows = await tx.fetch(
        f"""
        WITH named AS (
            SELECT record.*
              FROM record
              JOIN unnest($1::text[], $2::text[], $3::text[])
                   AS wanted (holder, category, record_id)
             USING (holder, category, record_id)
        )
        SELECT {_RECORD}
          FROM record
         WHERE id IN (SELECT id FROM named
                       UNION
                      SELECT record.id
                        FROM record
                        JOIN named USING (entity, document))
      ORDER BY id
        {"FOR UPDATE" if lock else ""}
        """,  # noqa: S608 - constants
        *([ref[place] for ref in refs] for place in range(3)),
    )
    return [Record(**row) for row in rows]


async def records_of_documents(
    tx: Connection, documents: Collection[tuple[str, str]]
) -> list[Record]:
    """Return all records in groups of documents, given as (entity, group)."""
    rows = await tx.fetch(
        f"""
        SELECT {_RECORD}
          FROM record
          JOIN unnest($1::text[], $2::text[]) AS wanted (entity, document)
         USING (entity, document)
        """,  # noqa: S608 - a list of columns
        [entity for entity, _ in documents],
        [document for _, document in documents],
    )
    return [Record(**row) for row in rows]


async def records_of(
    tx: Connection, *, customers: Collection[str] = (), categories: Collection[str] = ()
) -> list[Record]:
    """Return all records of some customers or of some categories."""
    rows = await tx.fetch(
        f"SELECT {_RECORD} FROM record WHERE customer_id = ANY($1) OR category = ANY($2)",  # noqa: S608
        list(customers),
        list(categories),
    )
    return [Record(**row) for row in rows]


async def anchors(tx: Connection, refs: Collection[Ref]) -> dict[Ref, list[AnchorRow]]:
    """Return the occurrences in each record that has any."""
    rows = await tx.fetch(
        """
        SELECT holder, category, record_id, anchor_id, kind, day, superseded, revoked, event
          FROM anchor
          JOIN unnest($1::text[], $2::text[], $3::text[]) AS wanted (holder, category, record_id)
         USING (holder, category, record_id)
        """,
        *([ref[place] for ref in refs] for place in range(3)),
    )
    found: dict[Ref, list[AnchorRow]] = {}
    for holder, category, record_id, *rest in rows:
        found.setdefault((holder, category, record_id), []).append(AnchorRow(*rest))
    return found


async def services(tx: Connection, customers: Collection[str]) -> dict[str, list[ServiceRow]]:
    """Return the steps in the lives of each customer's services."""
    rows = await tx.fetch(
        """
        SELECT customer_id, service_id, kind, day, at, event
          FROM service_event
         WHERE customer_id = ANY($1)
        """,
        list(customers),
    )
    found: dict[str, list[ServiceRow]] = {}
    for customer_id, *rest in rows:
        found.setdefault(customer_id, []).append(ServiceRow(*rest))
    return found


async def customer_anchors(
    tx: Connection, customers: Collection[str]
) -> dict[str, list[tuple[str, date, str]]]:
    """Return kind, day and event of what happened to each customer's account."""
    rows = await tx.fetch(
        "SELECT customer_id, kind, day, event FROM customer_anchor WHERE customer_id = ANY($1)",
        list(customers),
    )
    found: dict[str, list[tuple[str, date, str]]] = {}
    for customer_id, *account in rows:
        found.setdefault(customer_id, []).append(tuple(account))
    return found


async def share_keys(tx: Connection, ids: Collection[int]) -> set[int]:
    """Return those ids whose deadline keys exist; they stay as they are until *tx* ends.

    Whoever points records to a key shares it first, so that a purge cannot pass them by.
    """
    rows = await tx.fetch(
        "SELECT id FROM deadline_key WHERE id = ANY($1) ORDER BY id FOR SHARE", list(ids)
    )
    return {row["id"] for row in rows}


async def find_keys(tx: Connection, identities: Collection[Identity]) -> dict[Identity, int]:
    """Return the ids of those deadline keys that exist, and share them."""
    rows = await tx.fetch(
        """
        WITH wanted AS (
            SELECT *
              FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::date[], $6::text[])
                   AS named (entity, category, scheme, anchor_state, anchor_day, lacking)
        )
        SELECT id, entity, category, scheme, anchor_state, anchor_day, lacking
          FROM deadline_key
         WHERE id IN (
               SELECT id
                 FROM wanted
                 JOIN deadline_key
                USING (entity, category, scheme, anchor_state, anchor_day, lacking)
                UNION ALL
               SELECT id
                 FROM wanted
                 JOIN deadline_key USING (entity, category, scheme, anchor_state, lacking)
                WHERE wanted.anchor_day IS NULL AND deadline_key.anchor_day IS NULL)
      ORDER BY id
           FOR SHARE
        """,
        *(list(column) for column in zip(*identities, strict=True)),
    )
    return {tuple(row)[1:]: row["id"] for row in rows}


async def put_keys(tx: Connection, keys: Sequence[Mapping[str, Any]]) -> None:
    """Store deadline keys with what was computed for them, unless somebody just did.

    Others found the same then, for what deadlines depend on stays while any are registered.
    """
    await tx.execute(
        f"""
        INSERT INTO deadline_key ({", ".join(KEY)})
             SELECT *
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::date[], $6::text[],
                           $7::int[], $8::text[], $9::text[], $10::boolean[], $11::date[],
                           $12::boolean[], $13::date[], $14::timestamptz[], $15::timestamptz[])
        ON CONFLICT DO NOTHING
        """,  # noqa: S608 - names of columns
        *([key[column] for key in keys] for column in KEY),
    )


async def keys_of(
    tx: Connection, *, entities: Collection[str] = (), categories: Collection[str] = ()
) -> dict[int, tuple[Any, ...]]:
    """Return the deadline keys of some entities or of some categories, as :data:`KEY`, by id."""
    rows = await tx.fetch(
        f"""
        SELECT id, {", ".join(KEY)}
          FROM deadline_key
         WHERE entity = ANY($1) OR category = ANY($2)
      ORDER BY id
        """,  # noqa: S608 - names of columns
        list(entities),
        list(categories),
    )
    return {row["id"]: tuple(row)[1:] for row in rows}


async def update_keys(tx: Connection, keys: Mapping[int, Sequence[Any]]) -> None:
    """Store what was computed anew for deadline keys, :data:`KEY` from the seventh on, by id."""
    computed = KEY[6:]
    await tx.execute(
        f"""
        UPDATE deadline_key
           SET ({", ".join(computed)}) = ({", ".join(f"anew.{name}" for name in computed)})
          FROM unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::boolean[], $6::date[],
                      $7::boolean[], $8::date[], $9::timestamptz[], $10::timestamptz[])
               AS anew (id, {", ".join(computed)})
         WHERE deadline_key.id = anew.id
        """,  # noqa: S608 - names of columns
        list(keys),
        *([key[place] for key in keys.values()] for place in range(len(computed))),
    )


async def accept_erasure(
    tx: Connection, records: Sequence[int], day: date, by: str, now: datetime
) -> None:
    """Note that records are to be erased as soon as may be; what was accepted before stays so."""
    await tx.execute(
        """
        WITH accepted AS (
            INSERT INTO erasure (record, accepted_on, accepted_by, accepted_at)
                 SELECT record, $2, $3, $4 FROM unnest($1::bigint[]) AS record
            ON CONFLICT DO NOTHING
              RETURNING record
        )
        INSERT INTO purge_item (record) SELECT record FROM accepted ON CONFLICT DO NOTHING
        """,
        records,
        day,
        by,
        now,
    )


async def erasures(tx: Connection, records: Collection[int]) -> dict[int, date]:
    """Return the day on which the erasure of each record was accepted, by its id."""
    rows = await tx.fetch(
        "SELECT record, accepted_on FROM erasure WHERE record = ANY($1)", list(records)
    )
    return {row["record"]: row["accepted_on"] for row in rows}


async def refs_of_subject(tx: Connection, token: str) -> list[Ref]:
    """Return the records that tell of a person."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT holder, category, record_id
          FROM record_subject
          JOIN record ON record.id = record_subject.record
         WHERE token = $1
        """,
        token,
    )
    return [tuple(row) for row in rows]


async def keys_of_records(tx: Connection, records: Sequence[int]) -> dict[int, int]:
    """Return the id of the deadline key of each record, by its id."""
    rows = await tx.fetch("SELECT id, key FROM record WHERE id = ANY($1)", records)
    return {row["id"]: row["key"] for row in rows}


async def point_to_keys(tx: Connection, pairs: Sequence[tuple[int, int]]) -> None:
    """Point records (by id) to deadline keys (by id), which this transaction shares.

    Where a purge has passed by, it finds them all the same.
    """
    await tx.execute(
        """
        WITH moved AS (
            UPDATE record
               SET key = wanted.key
              FROM unnest($1::bigint[], $2::bigint[]) AS wanted (id, key)
             WHERE record.id = wanted.id AND record.key IS DISTINCT FROM wanted.key
         RETURNING record.id, wanted.key
        )
        INSERT INTO purge_item (record)
             SELECT moved.id
               FROM moved
               JOIN deadline_key ON deadline_key.id = moved.key
              WHERE moved.id <= issued_to
        ON CONFLICT DO NOTHING
        """,
        [record for record, _ in pairs],
        [key for _, key in pairs],
    )


async def policies_stay(tx: Connection) -> None:
    """Keep others from changing what many deadlines depend on until *tx* ends."""
    await tx.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended('policies', 0))")


async def policies_change(tx: Connection) -> None:
    """Wait until nobody else computes deadlines, and keep them from it until *tx* ends.

    For what changes policies, financial years, services or groups of documents: of two that work
    at the same time, neither would see what the other has changed.
    """
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('policies', 0))")


async def count_policies(tx: Connection) -> int:
    """Return how many versions of policies were put in force."""
    count: int = await tx.fetchval("SELECT count(*) FROM policy_version")
    return count


async def policies(tx: Connection) -> list[str]:
    """Return all versions of all policies that were put in force, as JSON."""
    rows = await tx.fetch("SELECT body FROM policy_version")
    return [row["body"] for row in rows]


async def put_policy(
    tx: Connection, policy: Policy, sha256: bytes, now: datetime, plan: bytes | None = None
) -> None:
    """Put a policy version in force."""
    await tx.execute(
        """
        INSERT INTO policy_version (category, version, body, sha256, activated_at, plan)
             VALUES ($1, $2, $3, $4, $5, $6)
        """,
        policy.category,
        policy.version,
        policy.model_dump_json(),
        sha256,
        now,
        plan,
    )


async def raise_epoch(tx: Connection) -> int:
    """Raise the hold epoch and return it; purge commands from before are void."""
    epoch: int = await tx.fetchval("UPDATE hold_epoch SET epoch = epoch + 1 RETURNING epoch")
    return epoch


async def hold_epoch(tx: Connection) -> int:
    """Return the hold epoch; it stays until *tx* ends, so that no hold slips in behind."""
    epoch: int = await tx.fetchval("SELECT epoch FROM hold_epoch FOR SHARE")
    return epoch


async def place_hold(tx: Connection, hold: Mapping[str, Any]) -> None:
    """Keep what a hold covers."""
    await tx.execute(
        """
        INSERT INTO legal_hold
                    (id, customer_id, category, subject, holder, record_id, first_day, last_day,
                     reason, review_on, placed_by, placed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        """,
        *(hold[c] for c in ("id", "customer_id", "category", "subject", "holder", "record_id")),
        *(hold[c] for c in ("first_day", "last_day", "reason", "review_on")),
        hold["placed_by"],
        hold["placed_at"],
    )


async def lock_hold(tx: Connection, hold_id: UUID) -> dict[str, Any] | None:
    """Return a hold, which nobody else changes until *tx* ends."""
    row = await tx.fetchrow("SELECT * FROM legal_hold WHERE id = $1 FOR UPDATE", hold_id)
    return None if row is None else dict(row)


async def ask_release(tx: Connection, hold_id: UUID, by: str, now: datetime) -> None:
    """Note who asked for a hold to be lifted."""
    await tx.execute(
        "UPDATE legal_hold SET release_asked_by = $2, release_asked_at = $3 WHERE id = $1",
        hold_id,
        by,
        now,
    )


async def release_hold(
    tx: Connection, hold_id: UUID, by: str, now: datetime, protects_until: datetime
) -> None:
    """Lift a hold, which protects on until its grace is over."""
    await tx.execute(
        """
        UPDATE legal_hold
           SET released_by = $2, released_at = $3, protects_until = $4
         WHERE id = $1
        """,
        hold_id,
        by,
        now,
        protects_until,
    )


async def subjects(tx: Connection, record: int) -> list[str]:
    """Return the tokens of the persons a record tells of."""
    rows = await tx.fetch("SELECT DISTINCT token FROM record_subject WHERE record = $1", record)
    return [row["token"] for row in rows]


async def holds(tx: Connection) -> list[dict[str, Any]]:
    """Return all holds, newest first, the released ones too."""
    rows = await tx.fetch("SELECT * FROM legal_hold ORDER BY placed_at DESC")
    return [dict(row) for row in rows]
