"""SQL of the reports of months: which there are, and their files."""

from datetime import date, datetime
from typing import Any

from shared.postgres import Connection


async def so_far(tx: Connection) -> tuple[datetime | None, date | None]:
    """Return since when there is a policy in force, and the newest month that has its report."""
    row = await tx.fetchrow(
        """
        SELECT (SELECT min(activated_at) FROM policy_version) AS since,
               (SELECT max(month) FROM month_report) AS reported
        """
    )
    return (None, None) if row is None else (row["since"], row["reported"])


async def keep(tx: Connection, month: date, body: bytes, sha256: str, now: datetime) -> bool:
    """Keep the report of a month; return False if it has one."""
    status = await tx.execute(
        """
        INSERT INTO month_report (month, sha256, body, issued_at)
             VALUES ($1, decode($2, 'hex'), $3, $4)
        ON CONFLICT DO NOTHING
        """,
        month,
        sha256,
        body,
        now,
    )
    return status == "INSERT 0 1"


async def months(tx: Connection) -> list[dict[str, Any]]:
    """Return the months that have their report, newest first."""
    rows = await tx.fetch(
        """
        SELECT to_char(month, 'YYYY-MM') AS month, encode(sha256, 'hex') AS sha256, issued_at
          FROM month_report
      ORDER BY month_report.month DESC
        """
    )
    return [dict(row) for row in rows]


async def file(tx: Connection, month: date) -> bytes | None:
    """Return the report of a month as it was issued."""
    return await tx.fetchval("SELECT body FROM month_report WHERE month = $1", month)
