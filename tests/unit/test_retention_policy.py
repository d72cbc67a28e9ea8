"""The shipped policies, and what is said of broken ones."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from retention.policy import CATEGORIES, load
from shared.document import DocumentError

SHIPPED = Path(__file__).parents[2] / "policies"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for path in SHIPPED.glob("*.yaml"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_every_category_of_the_notice_has_its_policy() -> None:
    shipped = load(SHIPPED)
    assert shipped.by_category.keys() == CATEGORIES
    assert {name for name, each in shipped.by_category.items() if not each.stored} == {
        "cookie.popup",
        "stats.visitor",
    }
    assert shipped.by_category["logs.action"].log_class == 1
    assert shipped.by_category["billing.invoice"].statutory


def test_a_period_that_the_notice_does_not_give_says_whose_it_is() -> None:
    for policy in load(SHIPPED).by_category.values():
        assert policy.period_reason or policy.period_source != "our proposal"
        assert policy.period_source == "statute" or not policy.category.startswith("billing.inv")


def change(old: str, new: str) -> Callable[[str], str]:
    def changed(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return changed


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (change("months: 12", "months: twelve"), "lead.form.yaml:39: rule.months:"),
        (change("  months: 12\n", ""), "lead.form.yaml:37: rule: a period is either"),
        (change("action: erase", "acton: erase"), "lead.form.yaml:40: acton: Extra inputs"),
        (change('    article: "15(1)"\n', ""), "lead.form.yaml:45: rights.access.article: Field"),
        (change("action: erase", "action: shred"), "lead.form.yaml:40: action:"),
        (change("log_class: 10", "log_class: 1"), "lead.form.yaml: log_class: 1 is taken twice"),
        (change("log_class: 10", "log_class: 0"), "lead.form.yaml:43: log_class:"),
        (change("[crm, website]", "[crm, webbsite]"), "lead.form.yaml: holders: webbsite is not"),
        (change("[crm, website]", "[]"), "lead.form.yaml: holders: name the systems"),
        (change("effective_from: 2026-01-01", "effective_from: soon"), ": effective_from:"),
        (change("version: 1", "version: 1\nversion: 2"), "lead.form.yaml:3: version: stands twice"),
        (change("version: 1", "version: [1"), ": is no YAML"),
        (change("category: lead.form", "category: lead.forms"), "the file of lead.forms"),
        (change("rule: period\n  months: 12", "rule: oss_10y"), "rule: oss_10y bounds sales"),
        (change("rule: period\n  months: 12", "rule: forever"), "lead.form.yaml:37: rule:"),
        (change("rule: period\n  months: 12", "rule: never_stored"), "neither holders nor a clock"),
        (
            change("clock:\n  anchors: [submitted, last_contact]\n  resolve: latest\n", ""),
            "lead.form.yaml: clock: without one the time never runs",
        ),
        (change("  anchors: [submitted, last_contact]\n", ""), ": clock: "),
        (change("period_source: our proposal", "period_source: statute"), "no rule here is"),
        (lambda _: "", "lead.form.yaml: is empty"),
    ],
)
def test_a_broken_policy_names_file_line_and_field(
    directory: Path, broken: Callable[[str], str], problem: str
) -> None:
    path = directory / "lead.form.yaml"
    path.write_text(broken(path.read_text()))
    with pytest.raises(DocumentError) as error:
        load(directory)
    assert problem in str(error.value)


@pytest.mark.parametrize("name", ["lead.form.yaml", "holders.yaml"])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(DocumentError, match=name):
        load(directory)


def test_all_that_is_wrong_is_told_at_once(directory: Path) -> None:
    (directory / "lead.form.yaml").unlink()
    (directory / "suppression.yaml").unlink()
    with pytest.raises(DocumentError) as error:
        load(directory)
    assert len(error.value.problems) == 2


@pytest.mark.parametrize("category", ["billing.invoice", "cookie.popup", "no.such"])
def test_canaries_are_of_what_a_holder_holds(directory: Path, category: str) -> None:
    path = directory / "holders.yaml"
    path.write_text(path.read_text().replace("[lead.form]", f"[{category}]"))
    with pytest.raises(DocumentError, match=f"no policy lets crm hold {category}"):
        load(directory)
