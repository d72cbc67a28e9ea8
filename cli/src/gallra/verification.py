"""Verifying the master log of a running stack."""

from audit_log.checkpoint import Verifier
from audit_log.verify import Verdict, verify
from gallra.ask import ask
from gallra.stackfile import Stack
from shared.postgres import open_pool


async def verdict_of(stack: Stack) -> Verdict:
    """Walk the whole log of *stack* and return what was found."""
    vkey = (await ask(f"{stack.urls['audit_log']}/log/vkey")).text
    async with open_pool(stack.databases["audit_log"], "gallra-verify") as pool:
        return await verify(pool, Verifier.parse(vkey))
