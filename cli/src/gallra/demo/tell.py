"""What a person is told at the end of the demo."""

from gallra.demo.run import Figures
from gallra.stackfile import Stack


def tell(stack: Stack, figures: Figures) -> str:
    """Return the figures in words, with links to where each can be seen."""
    verdict = figures.verdict
    state = "intact" if verdict.intact else "NOT INTACT"
    log = f"{figures.actions} performed, {figures.logged} in the master log, each exactly once"
    forgotten = f"{figures.log_entries_purged} log entries of a customer who left two years ago"
    mails = f"{_listed(figures.mails)}; {figures.mails_received} at the mail server"
    lines = [
        "",
        f"Demo {figures.run}",
        "",
        f"Actions   {log}; the log is {state} ({verdict.size} entries signed)",
        f"          {stack.urls['audit_log']}/log/checkpoint",
        "Purged",
        *(f"          {_purged(figures, category)}" for category in sorted(figures.purged)),
        f"          {forgotten}: their proofs still verify",
        "Kept",
        *(f"          {_kept(figures, category)}" for category in sorted(figures.kept)),
        f"          {figures.held} of the invoices are past their time, under a legal hold",
        f"          all of it: {stack.urls['console']}/reports",
        f"Canaries  {_measured(figures.canaries)}",
        f"          {stack.urls['retention']}/api/v1/canaries",
        f"Mails     {mails}, and {figures.alert_mails} to on-call",
        f"          {stack.mail_api or stack.smtp}",
        f"Set aside {_listed(figures.dead_letters)}: what a broken producer sent",
    ]
    if figures.problems:
        lines += ["", "NOT AS IT SHOULD BE", *(f"- {problem}" for problem in figures.problems)]
    else:
        lines += ["", "All as it should be."]
    return "\n".join(lines)


def _purged(figures: Figures, category: str) -> str:
    line = figures.lines[category]
    holders = ", ".join(sorted({purge["holder"] for purge in line["purges"]}))
    return f"{figures.purged[category]} {category} by {holders or 'nobody'}; kept {line['why']}"


def _kept(figures: Figures, category: str) -> str:
    until = figures.lines[category]["kept_until"]
    how_long = f"the last of them through {until}" if until else "while their service runs"
    return f"{figures.kept[category]} {category}, {how_long}"


def _measured(canaries: dict[str, float | None]) -> str:
    gone = [seconds for seconds in canaries.values() if seconds is not None]
    slowest = f", the slowest {max(gone):.0f} s after it was due" if gone else ""
    return f"{len(gone)} of {len(canaries)} planted at holders are gone{slowest}"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing"
