"""Verifying the master log of a running stack."""

import httpx

from audit_log.checkpoint import Verifier
from audit_log.verify import Verdict, verify
from gallra.stackfile import Stack
from shared.postgres import open_pool


async def verdict_of(stack: Stack) -> Verdict:
    """Walk the whole log of *stack* and return what was found."""
    async with httpx.AsyncClient(base_url=stack.urls["audit_log"], timeout=30) as http:
        vkey = (await http.get("/log/vkey")).raise_for_status().text
    async with open_pool(stack.databases["audit_log"], "gallra-verify") as pool:
        return await verify(pool, Verifier.parse(vkey))
