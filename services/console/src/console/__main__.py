"""``python -m console``."""

import os
import sys

from console.app import build
from console.settings import Settings
from shared import logs, telemetry
from shared.settings import SettingsError
from shared.web.frame import serve

if __name__ == "__main__":
    try:
        settings = Settings.read(os.environ)
        app = build(settings)
    except SettingsError as error:
        sys.exit(f"gallra: {error}")
    logs.configure("console", settings.log_level)
    tracing = telemetry.configure("console")
    started = serve(app, settings)
    tracing.shutdown()
    if not started:
        sys.exit(1)
