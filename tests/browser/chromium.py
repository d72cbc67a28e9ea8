"""Debian's chromium, as a person at the console uses it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Cookie, Page, sync_playwright

from gallra.stack.provider import DOMAIN

PROGRAM = Path("/usr/bin/chromium")
_OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=[*_OPTIONS])
        try:
            yield browser
        finally:
            browser.close()


_sessions: Final[dict[tuple[str, str], list[Cookie]]] = {}


def sign_in(page: Page, console: str, role: str) -> None:
    """Be signed in as the demo user of a role; whoever was before is gone.

    A session that still lasts is taken up again, for one address may not sign in without end.
    """
    page.context.clear_cookies()
    page.context.add_cookies(
        [
            {"name": cookie.get("name", ""), "value": cookie.get("value", ""), "url": console}
            for cookie in _sessions.get((console, role), ())
        ]
    )
    page.goto(f"{console}/")
    if page.url != f"{console}/":
        sign_in_at_the_provider(page, console, role)
        _sessions[console, role] = page.context.cookies(console)


def sign_in_at_the_provider(page: Page, console: str, role: str) -> None:
    """Sign in the way a person does."""
    page.goto(f"{console}/sign-in")
    page.get_by_role("link", name="Sign in").click()
    page.fill("input[name=sub]", f"{role}@{DOMAIN}")
    page.click("button[type=submit], input[type=submit]")
    page.wait_for_url(f"{console}/")


def places(page: Page, console: str) -> list[str]:
    """Return the paths of all pages that the person sees, with one of each kind that has many."""
    found = ["/"]
    page.goto(f"{console}/")
    found += _hrefs(page, ".menu a")
    found += [
        "/deadlines?view=calendar", "/notifications/deliveries", "/operations/dead-letters",
        "/operations/topics",
    ]  # fmt: skip
    for listed, one in (
        ("/deadlines?status=on-hold", "td a[href^='/deadlines/']"),
        ("/policies", "td a[href^='/policies/']"),
        ("/purges", "td a[href^='/purges/']:not([download])"),
        ("/rights", "td a[href^='/rights/']"),
        ("/log?q=outcome:success", "td a[href^='/log/']"),
        ("/notifications", "td a[href^='/notifications/messages/']"),
        ("/notifications/deliveries", "td a[href^='/notifications/deliveries/']"),
    ):
        page.goto(console + listed)
        found += _hrefs(page, one)[:1]
    if "/notifications/deliveries/" in found[-1]:
        page.goto(console + found[-1])
        found += _hrefs(page, "dd a[href^='/notifications/recipients/']")
    return list(dict.fromkeys(found))


def _hrefs(page: Page, selector: str) -> list[str]:
    links = page.locator(selector)
    return [str(links.nth(n).get_attribute("href")) for n in range(links.count())]
