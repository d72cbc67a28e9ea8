"""Every SQL statement about alerts; no rule is decided here."""

from datetime import datetime

from shared.postgres import Connection


async def raise_alert(
    tx: Connection, fingerprint: str, severity: str, summary: str, now: datetime
) -> int | None:
    """Note an alert; return its round if it is news, None if it stands already."""
    rounds: int | None = await tx.fetchval(
        """
        INSERT INTO alert (fingerprint, severity, summary, raised_at)
             VALUES ($1, $2, $3, $4)
        ON CONFLICT (fingerprint) DO UPDATE
                SET severity = EXCLUDED.severity, summary = EXCLUDED.summary,
                    raised_at = EXCLUDED.raised_at, resolved_at = NULL, rounds = alert.rounds + 1
              WHERE alert.resolved_at IS NOT NULL
          RETURNING rounds
        """,
        fingerprint,
        severity,
        summary,
        now,
    )
    return rounds


async def resolve_alert(tx: Connection, fingerprint: str, now: datetime) -> int | None:
    """Note that an alert is over; return its round, None if it did not stand."""
    rounds: int | None = await tx.fetchval(
        """
        UPDATE alert SET resolved_at = $2
         WHERE fingerprint = $1 AND resolved_at IS NULL
     RETURNING rounds
        """,
        fingerprint,
        now,
    )
    return rounds
