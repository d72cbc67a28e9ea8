"""The law once more, in SQL: dates of deadline keys from their identity and the policies' versions.

Written from the law and not from :mod:`retention.deadline`, so that a mistake would have to be made
twice, in two languages, to go unnoticed.  A rule that is not known here yields no date.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeAlias

from shared.postgres import Connection

Versions: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]
"""What each version of a category's policy says of time, in any order."""

# A rule is a list of terms that must all be met (max); of a term, the first option to end frees
# the record (min).  -infinity: the term does not concern the record.  NULL: nobody knows.
_COMPUTED = """
    WITH RECURSIVE
    stated AS (
        SELECT policy.key AS category, terms.*,
               row_number() OVER (ORDER BY policy.key, effective_from, version) AS place,
               lead(effective_from, 1, 'infinity') OVER (
                   PARTITION BY policy.key ORDER BY effective_from, version) AS replaced_on
          FROM jsonb_each($1::jsonb) AS policy,
               jsonb_to_recordset(policy.value) AS terms
                   (version int, rule jsonb, statute boolean, effective_from date, existing text)
    ),
    part (place, rule) AS (
        SELECT place, rule FROM stated
     UNION ALL
        SELECT place, inside.rule
          FROM part, jsonb_array_elements(part.rule -> 'rules') AS inside (rule)
         WHERE part.rule ->> 'rule' = 'max'
    ),
    term AS (
        SELECT place, rule, row_number() OVER () AS number
          FROM part
         WHERE rule ->> 'rule' IS DISTINCT FROM 'max'
    ),
    option AS (
        SELECT place, number, one.rule,
               term.rule ->> 'rule' IN ('bfl_7_2', 'bfl_7_6_original', 'oss_10y') AS by_law
          FROM term, jsonb_array_elements(
                   CASE term.rule ->> 'rule' WHEN 'min' THEN term.rule -> 'rules'
                                             ELSE jsonb_build_array(term.rule) END) AS one (rule)
    ),
    book AS (
        SELECT entity, first_day, last_day, bool_and(adjoins) OVER (PARTITION BY entity) AS whole
          FROM (SELECT *, last_day + 1 = lead(first_day, 1, last_day + 1)
                                         OVER (PARTITION BY entity ORDER BY first_day) AS adjoins
                  FROM fiscal_year) AS year
    ),
    asked AS MATERIALIZED (
        SELECT key.*, last_day::timestamp AS year_ends
          FROM deadline_key AS key
          LEFT JOIN book ON whole AND book.entity = key.entity
                        AND anchor_day BETWEEN first_day AND last_day
         WHERE key.id = ANY($2)
    ),
    -- Of the versions, those that were in force when the time began to run, or came later.
    kept AS (
        SELECT asked.id, place, number, by_law, through
          FROM asked
          JOIN stated ON stated.category = asked.category AND anchor_day < replaced_on
          JOIN option USING (place),
               LATERAL (SELECT option.rule) AS one (rule),
               LATERAL (SELECT anchor_day::timestamp + coalesce(
                                   make_interval(months => (one.rule ->> 'months')::int),
                                   make_interval(days => (one.rule ->> 'days')::int)) AS counted
               ) AS plain,
               LATERAL (SELECT CASE one.rule ->> 'rule'
                   WHEN 'bfl_7_2' THEN
                       date_trunc('year', year_ends) + interval '8 years -1 day'
                   WHEN 'oss_10y' THEN
                       CASE WHEN scheme = 'oss' THEN
                           date_trunc('year', anchor_day::timestamp) + interval '11 years -1 day'
                       ELSE '-infinity' END
                   WHEN 'period' THEN
                       CASE WHEN num_nonnulls(one.rule ->> 'months', one.rule ->> 'days') <> 1
                              OR one.rule - '{rule,months,days,end_of}'::text[] <> '{}' THEN NULL
                            WHEN one.rule ->> 'end_of' IS NULL THEN counted
                            WHEN one.rule ->> 'end_of' = 'month' THEN
                                date_trunc('month', counted) + interval '1 month -1 day'
                            WHEN one.rule ->> 'end_of' = 'year' THEN
                                date_trunc('year', counted) + interval '1 year -1 day' END
                   END::date AS through
               ) AS found
    ),
    met AS (
        SELECT id, place, by_law,
               CASE WHEN count(*) = count(through) THEN min(through) END AS through
          FROM kept
      GROUP BY id, place, number, by_law
    ),
    bounded AS (
        SELECT id, place,
               CASE WHEN count(*) = count(through)
                    THEN nullif(max(through), '-infinity') END AS through,
               nullif(max(through) FILTER (WHERE by_law), '-infinity') AS minimum,
               bool_or(by_law) AS by_law
          FROM met
      GROUP BY id, place
    ),
    -- What each version alone would say; the floor is what the law, or the statute, demands of it.
    alone AS (
        SELECT id, place, version, effective_from, existing, through, by_law OR statute AS by_law,
               CASE WHEN statute THEN through WHEN through IS NOT NULL THEN minimum END AS floor
          FROM bounded
          JOIN stated USING (place)
    ),
    -- The promise, and what became of it with each later version.
    moved AS (
        (SELECT DISTINCT ON (id) id, place, version, through, floor
           FROM alone
       ORDER BY id, place)
     UNION ALL
        SELECT id, new.place,
               CASE WHEN moves THEN new.version ELSE old.version END,
               CASE WHEN NOT moves THEN old.through
                    WHEN new.through >= old.through OR new.through IS NULL THEN new.through
                    ELSE greatest(new.through, effective_from - 1) END,
               CASE WHEN moves THEN new.floor ELSE old.floor END
          FROM moved AS old
          JOIN alone AS new USING (id),
               LATERAL (SELECT CASE
                   WHEN old.through < effective_from THEN false
                   WHEN existing = 'apply' THEN true
                   WHEN old.through IS NULL THEN false
                   WHEN new.through IS NULL THEN by_law
                   ELSE coalesce(new.floor > old.through, false)
                   END AS moves
               ) AS decision
         WHERE new.place = old.place + 1
    ),
    computed AS (
        SELECT DISTINCT ON (id) id, version AS computed_version, through AS computed,
               floor AS computed_floor
          FROM moved
      ORDER BY id, place DESC
    )
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A deadline key that is not as SQL finds it; where that finds no date, it is None."""

    key: int
    category: str
    entity: str
    anchor_day: date | None
    keep_through: date
    purge_from: datetime
    floor: date | None
    policy_version: int
    computed: date | None
    computed_floor: date | None
    computed_version: int | None


async def differing(tx: Connection, versions: Versions, keys: Collection[int]) -> list[Difference]:
    """Return those of the scheduled *keys* that differ from what SQL makes of *versions*.

    Each has ``version``, ``rule``, ``statute``, ``effective_from`` and ``existing``, as
    :class:`retention.rule.Terms` has them.  Dates, floor and the version that decided must agree.

    Before 1950 some time zone data give Stockholm the clock of Berlin, with a summer time of up to
    two hours; which does not matter today, and must not let one absurd record freeze a category.
    """
    # The planner takes the few versions for many, and would compile longer than the query runs.
    await tx.execute("SET LOCAL jit = off")
    rows = await tx.fetch(
        f"""
        {_COMPUTED}
        SELECT asked.id AS key, category, entity, anchor_day, keep_through, purge_from, floor,
               policy_version, computed, computed_floor, computed_version
          FROM asked
          LEFT JOIN computed USING (id),
               LATERAL (SELECT (computed + 1)::timestamp AT TIME ZONE 'Europe/Stockholm' AS midnight
               ) AS begins
         WHERE status = 'scheduled'
           AND ((keep_through, floor, policy_version)
                    IS DISTINCT FROM (computed, computed_floor, computed_version)
                OR purge_from IS DISTINCT FROM midnight
                   AND (computed >= '1950-01-01'
                        OR abs(extract(epoch FROM purge_from - midnight)) > 7200))
      ORDER BY asked.id
        """,  # noqa: S608 - a constant
        json.dumps(versions),
        list(keys),
    )
    return [Difference(**row) for row in rows]


async def keys_in_use(tx: Connection, categories: Collection[str]) -> list[int]:
    """Return the scheduled keys of *categories* that records wait on."""
    rows = await tx.fetch(
        """
        SELECT id
          FROM deadline_key
         WHERE category = ANY($1)
           AND status = 'scheduled'
           AND id IN (SELECT key FROM key_records)
        """,
        list(categories),
    )
    return [row["id"] for row in rows]


async def keys_of(tx: Connection, records: Collection[int]) -> list[int]:
    """Return the deadline keys that records (by id) point to."""
    rows = await tx.fetch("SELECT DISTINCT key FROM record WHERE id = ANY($1)", list(records))
    return [row["key"] for row in rows]


async def frozen(tx: Connection) -> dict[str, str]:
    """Return the categories that are frozen, and why."""
    rows = await tx.fetch("SELECT category, why FROM category_frozen ORDER BY category")
    return {row["category"]: row["why"] for row in rows}


async def freeze(tx: Connection, category: str, why: str, now: datetime) -> None:
    """Freeze a category; if it is frozen already, the first reason stands."""
    await tx.execute(
        "INSERT INTO category_frozen VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        category,
        now,
        why,
    )


async def thaw(tx: Connection, categories: Collection[str]) -> None:
    """Thaw categories."""
    await tx.execute("DELETE FROM category_frozen WHERE category = ANY($1)", list(categories))
