"""Pictures of every page of a running console, for docs/screenshots: ``make screenshots``."""

import sys
from pathlib import Path

from tests.browser.chromium import chromium, places, sign_in

from gallra.stackfile import read

SHOTS = Path("docs/screenshots")
NAMES = {"": "overview"}


def main(data: Path) -> None:
    """Take them: 1280 pixels wide in light, the first page also in dark and at 390."""
    console = read(data).urls["console"]
    SHOTS.mkdir(parents=True, exist_ok=True)
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light")):
        with chromium() as browser:
            context = browser.new_context(
                viewport={"width": width, "height": 800},
                color_scheme="dark" if scheme == "dark" else "light",
                locale="en-GB",
            )
            page = context.new_page()
            sign_in(page, console, "auditor")
            for path in places(page, console):
                name = _name(path)
                if (width, scheme) != (1280, "light") and name not in {"overview", "log-entry"}:
                    continue
                page.goto(console + path)
                page.wait_for_load_state("networkidle")
                suffix = "" if (width, scheme) == (1280, "light") else f"-{width}-{scheme}"
                page.screenshot(path=SHOTS / f"{name}{suffix}.png")


def _name(path: str) -> str:
    """Return the name of a page's picture: that of its kind, where there are many."""
    parts = path.partition("?")[0].strip("/").split("/")
    kinds = {
        "deadlines": "deadline",
        "policies": "policy",
        "purges": "purge",
        "log": "log-entry",
        "rights": "right",
    }
    if path.endswith("view=calendar"):
        return "calendar"
    if len(parts) == 1:
        return parts[0] or "overview"
    if parts == ["log", "checkpoints"] or (
        len(parts) == 2 and parts[0] in {"notifications", "operations"}
    ):
        return parts[1]
    return kinds.get(parts[0]) or parts[1].rstrip("s").replace("deliverie", "delivery")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
