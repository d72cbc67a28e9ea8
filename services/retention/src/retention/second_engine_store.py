"""The law once more, in SQL: dates of deadline keys from their identity and the policies' rules.

Written from the law and not from :mod:`retention.deadline`, so that a mistake would have to be made
twice, in two languages, to go unnoticed.  A rule that is not known here yields no date.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from shared.postgres import Connection

# A policy is a list of terms that must all be met (max); of a term, the first option to end frees
# the record (min).  -infinity: the term does not concern the record.  NULL: nobody knows.
_COMPUTED = """
    WITH RECURSIVE
    part (category, rule) AS (
        SELECT policy.key, policy.value FROM jsonb_each($1::jsonb) AS policy
     UNION ALL
        SELECT category, inside.rule
          FROM part, jsonb_array_elements(part.rule -> 'rules') AS inside (rule)
         WHERE part.rule ->> 'rule' = 'max'
    ),
    term AS (
        SELECT category, rule, row_number() OVER () AS number
          FROM part
         WHERE rule ->> 'rule' IS DISTINCT FROM 'max'
    ),
    option AS (
        SELECT category, number, one.rule
          FROM term, jsonb_array_elements(
                   CASE term.rule ->> 'rule' WHEN 'min' THEN term.rule -> 'rules'
                                             ELSE jsonb_build_array(term.rule) END) AS one (rule)
    ),
    book AS (
        SELECT entity, first_day, last_day,
               lead(first_day) OVER (PARTITION BY entity ORDER BY first_day) AS next_day
          FROM fiscal_year
    ),
    asked AS (
        SELECT key.*,
               (SELECT CASE WHEN bool_and(coalesce(next_day = last_day + 1, true))
                            THEN min(last_day) FILTER (WHERE key.anchor_day BETWEEN first_day
                                                                                AND last_day)
                       END
                  FROM book
                 WHERE book.entity = key.entity)::timestamp AS year_ends
          FROM deadline_key AS key
         WHERE key.id = ANY($2)
    ),
    kept AS (
        SELECT asked.id, number, through
          FROM asked
          JOIN option USING (category),
               LATERAL (SELECT anchor_day::timestamp + coalesce(
                                   make_interval(months => (rule ->> 'months')::int),
                                   make_interval(days => (rule ->> 'days')::int)) AS counted
               ) AS plain,
               LATERAL (SELECT CASE rule ->> 'rule'
                   WHEN 'bfl_7_2' THEN
                       date_trunc('year', year_ends) + interval '8 years -1 day'
                   WHEN 'oss_10y' THEN
                       CASE WHEN scheme = 'oss' THEN
                           date_trunc('year', anchor_day::timestamp) + interval '11 years -1 day'
                       ELSE '-infinity' END
                   WHEN 'period' THEN
                       CASE WHEN num_nonnulls(rule ->> 'months', rule ->> 'days') <> 1
                              OR rule - '{rule,months,days,end_of}'::text[] <> '{}' THEN NULL
                            WHEN rule ->> 'end_of' IS NULL THEN counted
                            WHEN rule ->> 'end_of' = 'month' THEN
                                date_trunc('month', counted) + interval '1 month -1 day'
                            WHEN rule ->> 'end_of' = 'year' THEN
                                date_trunc('year', counted) + interval '1 year -1 day' END
                   END::date AS through
               ) AS found
    ),
    met AS (
        SELECT id, CASE WHEN count(*) = count(through) THEN min(through) END AS through
          FROM kept
      GROUP BY id, number
    ),
    computed AS (
        SELECT id, CASE WHEN count(*) = count(through)
                        THEN nullif(max(through), '-infinity') END AS through
          FROM met
      GROUP BY id
    )
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A deadline key whose dates are not those that SQL finds; it finds none where None."""

    key: int
    category: str
    entity: str
    anchor_day: date | None
    keep_through: date
    purge_from: datetime
    computed: date | None


async def differing(
    tx: Connection, rules: Mapping[str, Mapping[str, Any]], keys: Collection[int]
) -> list[Difference]:
    """Return those of the scheduled *keys* whose dates differ from what SQL makes of *rules*.

    Before 1950 some time zone data give Stockholm the clock of Berlin, with a summer time of up to
    two hours; which does not matter today, and must not let one absurd record freeze a category.
    """
    rows = await tx.fetch(
        f"""
        {_COMPUTED}
        SELECT asked.id AS key, category, entity, anchor_day, keep_through, purge_from,
               through AS computed
          FROM asked
          LEFT JOIN computed USING (id),
               LATERAL (SELECT (through + 1)::timestamp AT TIME ZONE 'Europe/Stockholm' AS midnight
               ) AS begins
         WHERE status = 'scheduled'
           AND (keep_through IS DISTINCT FROM through
                OR purge_from IS DISTINCT FROM midnight
                   AND (through >= '1950-01-01' OR abs(extract(epoch FROM purge_from - midnight))
                                                   > 7200))
      ORDER BY asked.id
        """,  # noqa: S608 - a constant
        json.dumps(rules),
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


async def keys_of_chunk(tx: Connection, chunk: UUID) -> list[int]:
    """Return the keys that the records of a purge chunk point to."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT key
          FROM record
          JOIN purge_item ON purge_item.record = record.id
         WHERE chunk = $1
        """,
        chunk,
    )
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
