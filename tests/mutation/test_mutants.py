"""Wrong ways to read the law, each of which the tests of the rules must notice.

A mutant is our code with one mistake that somebody could make in good faith.  It survives if the
tests still pass, and then it is a test that is missing.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import retention

ROOT = Path(__file__).parents[2]
SOURCE = Path(retention.__file__).parent
TESTS = (
    "tests/unit/test_golden_deadlines.py",
    "tests/unit/test_retention_law.py",
    "tests/unit/test_retention_anchor.py",
    "tests/unit/test_retention_deadline.py",
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake: what stands in a file, and what somebody might write instead."""

    module: str
    right: str
    wrong: str


MUTANTS = {
    "the day of an instant is that of UTC": Mutant(
        "calendar", "moment.astimezone(zone).date()", "moment.astimezone(UTC).date()"
    ),
    "purging begins at midnight UTC": Mutant(
        "calendar",
        "datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)",
        "datetime.combine(day, time.min, tzinfo=UTC)",
    ),
    "a month is thirty days": Mutant(
        "calendar",
        "years, month = divmod(day.month - 1 + months, 12)",
        "return day + timedelta(days=30 * months)\n    years, month = divmod(0, 12)",
    ),
    "the end of a month is passed over": Mutant(
        "calendar",
        "return date(year, month, min(day.day, monthrange(year, month)[1]))",
        "return date(year, month, 1) + timedelta(days=day.day - 1)",
    ),
    "seven years from the document": Mutant(
        "deadline", "_statutory(law.bfl_7_2(year), year", "_statutory(add_months(day, 84), year"
    ),
    "seven calendar years from the document's year": Mutant(
        "deadline",
        "_statutory(law.bfl_7_2(year), year",
        "_statutory(date(day.year + 7, 12, 31), year",
    ),
    "seven years from the end of the financial year, not of the calendar year": Mutant(
        "law",
        "return date(year.last_day.year + _ACCOUNTING_YEARS, 12, 31)",
        "return add_months(year.last_day, 12 * _ACCOUNTING_YEARS)",
    ),
    "the calendar year in which the financial year began": Mutant(
        "law",
        "return date(year.last_day.year + _ACCOUNTING_YEARS, 12, 31)",
        "return date(year.first_day.year + _ACCOUNTING_YEARS, 12, 31)",
    ),
    "an unknown financial year is taken for the calendar year": Mutant(
        "deadline",
        "year = circumstances.years.containing(day)",
        "year = circumstances.years.containing(day) or"
        " law.FinancialYear(date(day.year, 1, 1), date(day.year, 12, 31))",
    ),
    "ten years from the sale, not from the end of its year": Mutant(
        "law", "return date(day.year + _OSS_YEARS, 12, 31)", "return add_months(day, 120)"
    ),
    "paper originals by the old law for ever": Mutant(
        "law",
        "_ORIGINALS_FREE_FROM: Final = date(2024, 7, 1)",
        "_ORIGINALS_FREE_FROM: Final = date.max",
    ),
    "paper originals free before the law changed": Mutant(
        "law",
        "_ORIGINALS_FREE_FROM: Final = date(2024, 7, 1)",
        "_ORIGINALS_FREE_FROM: Final = date(2023, 7, 1)",
    ),
    "financial years may be longer than eighteen months": Mutant(
        "law", "_LONGEST_MONTHS: Final = 18", "_LONGEST_MONTHS: Final = 24"
    ),
    "financial years may overlap": Mutant(
        "law", "if following.first_day <= year.last_day:", "if following.last_day <= year.last_day:"
    ),
    "financial years may leave a gap": Mutant(
        "law", "if following.first_day != day_after(year.last_day):", "if False:"
    ),
    "the last day kept is not kept": Mutant(
        "deadline", "return self._midnight(1)\n", "return self._midnight(0)\n"
    ),
    "storage limits end on working days": Mutant(
        "deadline",
        "through = add_months(day, rule.months)",
        "from retention.calendar import next_working_day\n"
        "        through = next_working_day(add_months(day, rule.months))",
    ),
    "the shortest of the longest": Mutant(
        "deadline", "(max if longest else min)", "(min if longest else max)"
    ),
    "the anchor that came last counts": Mutant(
        "anchor", "max(days) if latest else min(days)", "days[-1] if latest else min(days)"
    ),
    "a superseded anchor still counts": Mutant(
        "anchor",
        "gone = facts.revoked | {anchor.supersedes for anchor in facts.anchors}",
        "gone = facts.revoked",
    ),
    "a revoked anchor still counts": Mutant(
        "anchor",
        "gone = facts.revoked | {anchor.supersedes for anchor in facts.anchors}",
        "gone = {anchor.supersedes for anchor in facts.anchors}",
    ),
    "documents of a group go one by one": Mutant(
        "anchor", 'if group == "max" and not _falls_away', 'if group == "never" and not _falls_away'
    ),
    "a group is kept whatever a person asks for": Mutant(
        "anchor",
        'return facts.erasure and extension_basis == "f"',
        "return False",
    ),
    "one service that ended is enough": Mutant(
        "anchor", "runs = any(not history", "runs = all(not history"
    ),
    "the first service that ended counts": Mutant(
        "anchor",
        "day, told = max((civil_day(event.moment, zone), event.event)",
        "day, told = min((civil_day(event.moment, zone), event.event)",
    ),
    "a termination cannot be taken back": Mutant(
        "anchor",
        "ordered.remove(_meant(revocation, terminations, zone))",
        "_meant(revocation, terminations, zone)",
    ),
    "holds are ignored": Mutant(
        "override", "for hold in sorted(holds, key=lambda hold: hold.from_day):", "for hold in ():"
    ),
    "nobody can object after a hold": Mutant(
        "override", "hold.grace_days if graced else 0", "0"
    ),
    "a hold with an end never ends": Mutant(
        "override", "if hold.through is None:", "if hold.through is not None:"
    ),
    "an accepted erasure beats the law": Mutant(
        "override", "through < deadline.floor", "through > deadline.floor"
    ),
    "an accepted erasure lengthens": Mutant(
        "override",
        "through = min(deadline.keep_through or date.max, day_after(accepted, -1))",
        "through = day_after(accepted, -1)",
    ),
    "longer promises reach back": Mutant(
        "deadline", 'if terms.existing == "keep" and not _demands_more(new, old):', "if False:"
    ),
    "a statute does not reach back": Mutant(
        "deadline",
        "return new.floor > old.keep_through",
        "return False",
    ),
    "deadlines that passed are revived": Mutant(
        "deadline", "and old.keep_through < terms.effective_from:", "and False:"
    ),
    "what the law may demand is not waited for": Mutant(
        "deadline", "return new.statutory and new.keep_through is None", "return False"
    ),
    "a date that becomes known by a change may lie before it": Mutant(
        "deadline",
        "if new.keep_through is None or (old.keep_through and",
        "if new.keep_through is None or (old.keep_through is None or",
    ),
    "shorter periods make due what was due before they began": Mutant(
        "deadline",
        "through = max(new.keep_through, day_after(terms.effective_from, -1))",
        "through = new.keep_through",
    ),
    "a month to answer is thirty days": Mutant(
        "law",
        "add_months(civil_day(received, zone), months), waited)",
        "day_after(civil_day(received, zone), 30 * months), waited)",
    ),
    "answers are due on holidays": Mutant(
        "law",
        "return next_working_day(last, eves=eves)",
        "return last",
    ),
    "seventy-two hours are three days on the clock": Mutant(
        "law",
        "return aware_at.astimezone(UTC) + timedelta(hours=72)",
        "return (aware_at.astimezone(STOCKHOLM) + timedelta(days=3)).astimezone(UTC)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MUTANTS)
def test_no_mutant_survives(what: str, tmp_path: Path) -> None:
    mutant = MUTANTS[what]
    copy = tmp_path / "retention"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    module = copy / f"{mutant.module}.py"
    text = module.read_text()
    assert text.count(mutant.right) == 1, "the code has moved on: say what the mistake is now"
    module.write_text(text.replace(mutant.right, mutant.wrong))
    done = run(tmp_path)
    assert done.returncode == 1, f"it survives:\n{done.stdout[-1500:]}{done.stderr[-1500:]}"


def test_the_right_code_passes(tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "retention")
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the tests of the rules on the code in *folder*, until the first that fails."""
    environment = {n: v for n, v in os.environ.items() if n != "GALLRA_GOLDEN"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TESTS],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
