"""Policies: the notice's sentence, the law, the rule; versions side by side; plans."""

import asyncio
import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Template

from console import navigation
from console.access import Asked, deed, filled, page
from console.view import Asking, Seen, segment

_CONTEXT: Final = 3  # lines around a difference
_FILE_HEADERS: Final = 2


@page("/policies", navigation.POLICIES.roles)
async def policies(view: Seen, backend: Asking) -> Template:
    """Show all policies in force, and plans to change them."""
    found, plans = await asyncio.gather(
        backend.get("retention", "/api/v1/policies", {"lang": view.language}),
        backend.get("retention", "/api/v1/plans"),
    )
    return view.page(
        "policies.html", navigation.POLICIES, policies=found["policies"], plans=plans["plans"]
    )


@page("/policies/{category:str}", navigation.POLICIES.roles)
async def policy(
    view: Seen,
    backend: Asking,
    category: FromPath[str],
    old: FromQuery[int | None] = None,
    new: FromQuery[int | None] = None,
) -> Template:
    """Show one policy, and how two of its versions differ."""
    found = await backend.get(
        "retention", f"/api/v1/policies/{segment(category)}", {"lang": view.language}
    )
    versions: dict[int, Mapping[str, Any]] = {v["version"]: v["body"] for v in found["versions"]}
    newer = new if new in versions else max(versions)
    earlier = [number for number in versions if number < newer]
    older = old if old in versions else max(earlier, default=newer)
    return view.page(
        "policy.html",
        navigation.POLICIES,
        policy=found,
        older=older,
        newer=newer,
        difference=list(differences(versions[older], versions[newer])) if older != newer else [],
        draft=draft(versions[max(versions)], max(versions) + 1, str(view.today())),
    )


def draft(newest: Mapping[str, Any], version: int, today: str) -> str:
    """Return the policy that could follow *newest*, in YAML: the same from *today* on."""
    following = {**newest, "version": version, "effective_from": today}
    return yaml.safe_dump(following, sort_keys=False, allow_unicode=True, width=88)


@deed("/policies/plans", {"compliance", "dpo"})
async def plan(request: Asked, backend: Asking) -> Redirect:
    """Plan to change a policy."""
    made = await backend.post("retention", "/api/v1/plans", await filled(request, "text"))
    return Redirect(f"/policies#p{made['sha256'][:12]}", status_code=303)


@deed("/policies/plans/{sha256:str}/approval", {"approver"})
async def approve(sha256: FromPath[str], backend: Asking) -> Redirect:
    """Approve a plan."""
    await backend.post("retention", f"/api/v1/plans/{segment(sha256)}/approval", {})
    return Redirect(f"/policies#p{sha256[:12]}", status_code=303)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the lines in which two versions differ, each with ``+``, ``-``, ``@`` or a blank.

    >>> [line for line in differences({"grace": "P7D"}, {"grace": "P1D"}) if line[0] in "+-"]
    [('-', 'grace: P7D'), ('+', 'grace: P1D')]
    """
    was, now = (
        yaml.safe_dump(dict(body), sort_keys=True, allow_unicode=True, width=88).splitlines()
        for body in (old, new)
    )
    for number, line in enumerate(difflib.unified_diff(was, now, n=_CONTEXT, lineterm="")):
        if number >= _FILE_HEADERS:
            yield line[0], line if line[0] == "@" else line[1:]


ROUTES: Final = [policies, policy, plan, approve]
