"""The console in a real browser, over the whole stack after the demo ran."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from confluent_kafka import Producer
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Route, expect
from tests.browser.chromium import PROGRAM, chromium, places, sign_in, sign_in_at_the_provider
from tests.conftest import new_folder, running
from tests.live import eventually

from gallra.stack.provider import SECOND, USERS
from gallra.stackfile import Stack, read

pytestmark = pytest.mark.skipif(
    not PROGRAM.exists(), reason=f"there is no {PROGRAM}: apt-get install chromium"
)

MENUS = {
    "viewer": {"Overview", "Deadlines", "Policies", "Purges", "Checkpoints", "Reports"},
    "approver": {
        "Overview", "Deadlines", "Policies", "Holds", "Purges", "Rights requests", "Checkpoints",
        "Reports",
    },
    "operator": {
        "Overview", "Policies", "Purges", "Checkpoints", "Notifications", "Operations"
    },
    "dpo": {
        "Overview", "Deadlines", "Policies", "Holds", "Purges", "Rights requests", "Master log",
        "Checkpoints", "Reports", "Notifications",
    },
}  # fmt: skip
MENUS["compliance"] = MENUS["dpo"]
MENUS["auditor"] = MENUS["dpo"] | {"Operations"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Return a stack that has something to show, of our own: policies are changed here."""
    with new_folder() as folder:
        for data in running(folder):
            command = [sys.executable, "-m", "gallra", "demo", "--data", str(data), "--json"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=250)
            yield read(data)


@pytest.fixture(scope="module")
def console(stack: Stack) -> str:
    """Return the address of the console."""
    return stack.urls["console"]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Lend a page on which nothing may go wrong unseen: no script error, nothing refused."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            problems.append(message.text)

    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", note)
    yield page
    context.close()
    # The provider's page asks for a style sheet from elsewhere, and has no icon; some tests look
    # at what is refused.
    usual = ("ERR_NAME_NOT_RESOLVED", "status of 404", "status of 403")
    assert [problem for problem in problems if not any(u in problem for u in usual)] == []


@pytest.mark.parametrize("role", USERS)
def test_each_role_sees_its_pages(page: Page, console: str, role: str) -> None:
    sign_in_at_the_provider(page, console, role)
    menu = page.locator(".menu a")
    assert set(menu.all_inner_texts()) == MENUS[role]
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.locator(".person summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    page.goto(f"{console}/policies")
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_a_hold_is_placed_by_one_and_lifted_by_two(page: Page, console: str) -> None:
    sign_in(page, console, "compliance")
    page.goto(f"{console}/holds")
    reason = "a dispute about a bill, <b>to be held</b>"
    place = page.locator("#place")
    place.get_by_label("Reason").fill(reason)
    place.get_by_label("Review on").fill(str(datetime.now(UTC).date() + timedelta(days=90)))
    place.get_by_role("textbox", name="Customer").fill("c-of-the-browser")
    place.get_by_role("button", name="Place the hold").click()
    row = page.locator("tr", has_text=reason)
    expect(row).to_contain_text("in force")
    row.get_by_role("button", name="Ask to lift it").click()
    expect(row).to_contain_text("asked by compliance@gallra.example")
    expect(row.get_by_role("button")).to_have_count(0)
    sign_in(page, console, "approver")
    page.goto(f"{console}/holds")
    row.get_by_role("button", name="Agree to lift it").click()
    expect(row).to_contain_text("protects until")


def test_a_form_that_is_sent_twice_does_one_thing(page: Page, console: str) -> None:
    sign_in(page, console, "compliance")
    page.goto(f"{console}/holds")
    place = page.locator("#place")
    filled = place.locator("[name]").evaluate_all("all => all.map(e => [e.name, e.value])")
    review = str(datetime.now(UTC).date() + timedelta(days=90))
    form = {**dict(filled), "reason": "sent twice", "review_on": review, "customer_id": "c-twice"}
    for _ in range(2):
        assert page.request.post(f"{console}/holds", form=form).ok
    page.goto(f"{console}/holds")
    expect(page.locator("tr", has_text="sent twice")).to_have_count(1)
    with_another = {**form, "once": "of-another-page", "reason": "sent anew"}
    assert page.request.post(f"{console}/holds", form=with_another).ok
    page.goto(f"{console}/holds")
    expect(page.locator("tr", has_text="sent anew")).to_have_count(1)


def test_a_policy_is_changed_by_one_and_approved_by_two(page: Page, console: str) -> None:
    sign_in(page, console, "compliance")
    page.goto(f"{console}/policies/lead.form")
    page.get_by_text("Plan a change").click()
    wanted = page.get_by_label("The policy as it is to be")
    draft = wanted.input_value()
    assert "months: 12" in draft
    wanted.fill(draft.replace("months: 12", "months: 13"))
    page.get_by_role("button", name="Show what it would do").click()
    row = page.locator("#plans ~ .scroll tbody tr").first
    expect(row).to_contain_text("two people")
    expect(row).to_contain_text("lead.form")
    sign_in(page, console, "approver")
    page.goto(f"{console}/policies")
    row.get_by_role("button", name="Approve").click()
    expect(row).to_contain_text("one more person")
    expect(row.get_by_role("button")).to_have_count(0)
    sign_in(page, console, SECOND[0])
    page.goto(f"{console}/policies")
    row.get_by_role("button", name="Approve").click()
    expect(row).to_contain_text("in force")
    page.goto(f"{console}/policies/lead.form")
    expect(page.locator("pre.diff")).to_contain_text("months: 13")


def test_a_request_is_decided_and_its_answer_fetched(page: Page, console: str) -> None:
    sign_in(page, console, "dpo")
    page.goto(f"{console}/rights")
    opened = page.locator("#open")
    opened.get_by_label("Right").select_option("access")
    opened.get_by_label("Tokens of the person").fill("s-of-nobody")
    opened.get_by_label("Address for the answer").fill("person@home.example")
    opened.get_by_role("button", name="Open the request").click()
    case = pressed(page.get_by_role("button", name="The person is who they say")).url
    pressed(reloaded(page, page.get_by_role("button", name="Decide as proposed")))
    sign_in(page, console, "approver")
    page.goto(case)
    approve = page.get_by_role("button", name="Approve, and have it done")
    if approve.count():  # nothing is held of nobody: that may go out by one person
        pressed(approve)
    fetch = reloaded(page, page.get_by_role("link", name="The answer as PDF"))
    with page.expect_download() as download:
        fetch.click()
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF")


def pressed(button: Locator) -> Page:
    """Press a button; return its page once what it does is done, and it with it."""
    button.click()
    expect(button).to_have_count(0)
    return button.page


def reloaded(page: Page, wanted: Locator) -> Locator:
    """Return *wanted* once it is on the page, which does not change by itself."""

    def shown() -> bool:
        page.reload()
        return wanted.count() > 0

    eventually(shown)
    return wanted


def test_a_purge_is_followed_to_its_certificate(page: Page, console: str) -> None:
    sign_in(page, console, "auditor")
    page.goto(f"{console}/purges?state=closed")
    with page.expect_download() as download:
        page.locator("a[download]").first.click()
    assert b"proof" in Path(download.value.path()).read_bytes()


def publish(stack: Stack, what: str, ref: dict[str, str], **content: str) -> None:
    """Publish an event about a record."""
    producer = Producer({"bootstrap.servers": stack.kafka})
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid4()),
        "ce_source": "//browser",
        "ce_type": f"platform.record.{what}.v1",
        "ce_time": datetime.now(UTC).isoformat(),
        "content-type": "application/json",
    }
    key = "/".join(ref.values())
    body = json.dumps({**ref, **content})
    producer.produce("platform.records.v1", body, key, headers=headers)
    assert producer.flush(60) == 0


def test_an_operator_sends_a_dead_letter_again_once_its_cause_is_mended(
    page: Page, stack: Stack, console: str
) -> None:
    ref = {"holder": "crm", "category": "lead.form", "record_id": f"lead-{uuid4()}"}
    told = {"anchor_id": "a-1", "kind": "submitted", "date": "2026-11-20", "vat_scheme": "oss"}
    publish(stack, "anchored", ref, **told)
    sign_in(page, console, "operator")
    page.goto(f"{console}/operations/dead-letters?code=unknown-reference")
    row = reloaded(page, page.locator("#letters ~ .scroll tbody tr"))
    expect(row).to_contain_text("the record is not registered")
    expect(page.locator("main")).not_to_contain_text(ref["record_id"])

    publish(stack, "registered", ref, entity="provider-ab")
    deadline = f"{console}/deadlines/{'/'.join(ref.values())}"
    sign_in(page, console, "auditor")
    page.goto(deadline)
    reloaded(page, page.get_by_role("heading", name=ref["record_id"]))
    expect(page.locator(".head .tag", has_text="scheduled")).to_have_count(0)
    page.goto(f"{console}/operations/dead-letters?code=unknown-reference")
    expect(row).to_have_count(1)
    expect(page.locator("main").get_by_role("button", name="again")).to_have_count(0)

    sign_in(page, console, "operator")
    page.goto(f"{console}/operations/dead-letters?code=unknown-reference")
    row.get_by_role("button", name="again").click()
    expect(page.get_by_role("status")).to_contain_text("1 sent again.")
    expect(row).to_have_count(0)
    page.goto(f"{console}/operations/dead-letters?state=redriven&code=unknown-reference")
    expect(row).to_contain_text("operator@gallra.example")

    sign_in(page, console, "auditor")
    page.goto(deadline)
    reloaded(page, page.locator(".head .tag", has_text="scheduled"))
    page.goto(f"{console}/log?q=action:ops.dead-letters.settled.v1")
    expect(reloaded(page, page.locator("#found tbody tr"))).to_contain_text(
        "operator@gallra.example"
    )


def test_an_operator_lets_a_dead_letter_go_and_a_viewer_sees_none(page: Page, console: str) -> None:
    sign_in(page, console, "operator")
    page.goto(f"{console}/operations/dead-letters?code=missing-header")
    row = page.locator("#letters ~ .scroll tbody tr")
    expect(row).to_have_count(1)
    row.get_by_text("Let go").click()
    row.get_by_role("button", name="for good").click()
    expect(page.get_by_role("status")).to_contain_text("1 let go.")
    expect(row).to_have_count(0)
    sign_in(page, console, "viewer")
    page.goto(f"{console}/operations/dead-letters")
    expect(page.get_by_role("heading", name="Forbidden")).to_be_visible()


def test_what_a_recipient_chose_is_shown(page: Page, console: str) -> None:
    sign_in(page, console, "operator")
    page.goto(f"{console}/notifications/deliveries?type=news")
    page.locator("td a[href^='/notifications/deliveries/']").first.click()
    page.get_by_role("link", name="what this recipient chose").click()
    news = page.locator("#preferences ~ .scroll tbody tr", has_text="news")
    expect(news).to_contain_text("yes")
    expect(page.get_by_role("heading", name="What is not sent to this address")).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("@")


@pytest.mark.parametrize("form", ["PDF", "XLSX", "CSV", "JSONL", "JSON"])
def test_each_report_is_downloaded(page: Page, console: str, form: str) -> None:
    sign_in(page, console, "viewer")
    page.goto(f"{console}/reports")
    with page.expect_download() as download:
        page.get_by_role("link", name=form, exact=True).click()
    assert Path(download.value.path()).stat().st_size > 500


def test_the_log_is_searched_while_one_types(page: Page, console: str) -> None:
    sign_in(page, console, "dpo")
    page.goto(f"{console}/log")
    page.locator("#q").fill("outcome:failure since:yesterday")
    page.wait_for_url(re.compile(r"/log\?q=outcome"))
    page.wait_for_function("document.querySelector('#found time, #found .empty') !== null")
    outcomes = page.locator("#found tbody td:nth-child(4)").all_inner_texts()
    assert set(outcomes) <= {"failure"}
    page.locator("#q").fill("what is this")
    expect(page.locator("#found .notice")).to_contain_text("Not understood")


def test_an_entry_is_proven_in_the_browser_and_a_tampered_one_is_not(
    page: Page, console: str
) -> None:
    sign_in(page, console, "auditor")
    page.goto(f"{console}/log?q=outcome:success")
    page.locator("tbody td a[href^='/log/']").first.click()
    verdict = page.locator(".verdict")
    expect(verdict).to_have_text("Verified in your browser")
    assert page.locator(".checks .good").count() == 4

    note = page.locator("#note")
    proof = note.input_value()
    lines = proof.split("\n")
    root = lines.index("") + 3
    for number in (1, 2, 3, root, len(lines) - 2):  # leaf, place, path, root, signature
        changed = list(lines)
        changed[number] = "index 0" if number == 2 else altered(lines[number])
        note.fill("\n".join(changed))
        page.get_by_role("button", name="Verify again").click()
        expect(verdict).to_have_text("Does not verify")
    note.fill(proof)
    page.get_by_role("button", name="Verify again").click()
    expect(verdict).to_have_text("Verified in your browser")


def altered(line: str) -> str:
    """Return *line* with one character of its base64 changed."""
    return line[:-9] + ("B" if line[-9] == "A" else "A") + line[-8:]


def test_content_that_a_server_changed_does_not_verify(page: Page, console: str) -> None:
    sign_in(page, console, "auditor")
    page.goto(f"{console}/log?q=outcome:success channel:portal")
    href = page.locator("tbody td a[href^='/log/']").first.get_attribute("href")

    def tampered(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("portal", "partal"))

    page.route(f"**{href}", tampered)
    page.goto(f"{console}{href}")
    expect(page.locator(".verdict")).to_have_text("Does not verify")
    expect(page.locator("[data-check=content]")).to_have_class("bad")


@pytest.mark.parametrize("role", ["auditor", "operator"])
def test_every_page_is_fit_for_everybody(page: Page, console: str, role: str) -> None:
    """No serious violation of WCAG, and nothing that is wider than a narrow screen."""
    sign_in(page, console, role)
    axe = Axe()
    for path in (*places(page, console), "/nowhere", "/signed-out"):
        for scheme, width in (("light", 1280), ("dark", 390)):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(console + path)
            found = axe.run(page).response["violations"]
            grave = [
                f"{v['id']}: {v['nodes'][0]['html'][:300]}"
                for v in found
                if v["impact"] in {"serious", "critical"}
            ]
            assert grave == [], f"{path}, {scheme}"
            wider = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wider <= 0, f"{path} at {width}"


def test_all_can_be_read_without_script_and_reached_by_keyboard(
    browser: Browser, console: str
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, console, "auditor")
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    expect(focused).to_have_text("Skip to the content")
    page.goto(f"{console}/log")
    page.locator("#q").fill("outcome:success")
    page.keyboard.press("Enter")
    page.locator("tbody td a[href^='/log/']").first.click()
    expect(page.get_by_text("verify with the command line below")).to_be_visible()
    expect(page.get_by_text("gallra log prove")).to_be_visible()
    context.close()


def test_a_person_reads_in_swedish_and_in_utc(page: Page, console: str) -> None:
    sign_in(page, console, "viewer")
    page.get_by_title("Svenska").click()
    expect(page.get_by_role("heading", name="Översikt")).to_be_visible()
    page.get_by_role("link", name="UTC").click()
    page.goto(f"{console}/purges")
    expect(page.get_by_role("heading", name="Gallringar")).to_be_visible()
    expect(page.locator("footer")).to_contain_text("UTC")
