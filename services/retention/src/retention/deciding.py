"""What people decide, over HTTP: holds, changes of policies, purges that were stopped.

Who asks for something never agrees to it: the second of two people is another one.
"""

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final
from uuid import UUID

from litestar import Request, post
from litestar.datastructures import State
from litestar.params import FromPath, JSONBody
from pydantic import TypeAdapter

from retention.guard import Guard
from retention.holds import Holds
from retention.override import Scope
from retention.planner import Planner
from retention.policy import CATEGORIES, Policies, Policy, check
from shared.document import DocumentError, parse
from shared.errors import Rejected
from shared.postgres import Pool
from shared.web.access import By, Caller

_CLERKS: Final = {"compliance", "dpo"}
_TWO: Final = {"compliance", "dpo", "approver"}
_LONGEST: Final = 2000  # characters of a reason
_policy: TypeAdapter[Policy] = TypeAdapter(Policy)

Asked = Request[Caller, Any, State]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldWanted(By):
    """A hold to be: what it covers, why, and when it is looked at again."""

    reason: str
    review_on: date
    customer_id: str | None = None
    category: str | None = None
    subject: str | None = None
    holder: str | None = None
    record_id: str | None = None
    first_day: date | None = None
    last_day: date | None = None

    def scope(self) -> Scope:
        """Return what it covers."""
        return Scope(**{name: getattr(self, name) for name in Scope.__slots__})


@dataclass(frozen=True, slots=True)
class PlanWanted:
    """A policy as it is to be: the YAML of its file."""

    text: str


@post("/api/v1/holds", roles=_CLERKS)
async def place(request: Asked, state: State, data: JSONBody[HoldWanted]) -> dict[str, Any]:
    """Place a legal hold: what it covers is not purged, whatever its deadline."""
    by = request.user.acting(data.by)
    if not data.reason.strip() or len(data.reason) > _LONGEST:
        raise Rejected(
            f"a hold has a reason, of {_LONGEST} characters at most", code="invalid-hold"
        )
    holds: Holds = state.holds
    pool: Pool = state.pool
    placed = await holds.place(
        pool, data.scope(), reason=data.reason, review_on=data.review_on, by=by
    )
    return asdict(placed)


@post("/api/v1/holds/{hold_id:uuid}/release", status_code=200, roles=_TWO)
async def release(
    request: Asked, state: State, hold_id: FromPath[UUID], data: JSONBody[By]
) -> dict[str, Any]:
    """Ask for a hold to be lifted, or agree to it as another person."""
    holds: Holds = state.holds
    lifted = await holds.release(state.pool, hold_id, by=request.user.acting(data.by))
    return {"id": str(hold_id), "released": lifted}


@post("/api/v1/plans", roles=_CLERKS)
async def plan(state: State, data: JSONBody[PlanWanted]) -> dict[str, Any]:
    """Plan to change one policy; nothing changes before two people approve the plan."""
    planner: Planner = state.planner
    try:
        wanted = parse("policy", data.text, _policy)
        known = planner.in_force.history.newest
        holders = planner.in_force.holders
        check(Policies({**known, wanted.category: wanted}, holders), CATEGORIES)
        made = await planner.plan(state.pool, Policies({wanted.category: wanted}, holders))
    except DocumentError as error:
        raise Rejected(str(error), code="invalid-policy") from error
    return {"sha256": made.sha256.hex(), "category": wanted.category, "version": wanted.version}


@post("/api/v1/plans/{sha256:str}/approval", status_code=200, roles={"approver"})
async def approve_plan(
    request: Asked, state: State, sha256: FromPath[str], data: JSONBody[By]
) -> dict[str, Any]:
    """Approve a plan; when another person does too, it is in force."""
    planner: Planner = state.planner
    applied = await planner.approve(state.pool, sha256, by=request.user.acting(data.by))
    return {"sha256": sha256, "applied": applied is not None}


@post("/api/v1/freezes/{category:str}/approval", status_code=200, roles={"approver"})
async def approve_purge(
    request: Asked, state: State, category: FromPath[str], data: JSONBody[By]
) -> dict[str, Any]:
    """Approve a purge that was stopped for its size; when another person does too, it goes on."""
    guard: Guard = state.guard
    goes_on = await guard.approve(state.pool, category, by=request.user.acting(data.by))
    return {"category": category, "goes_on": goes_on}


ROUTES: Final = [place, release, plan, approve_plan, approve_purge]
