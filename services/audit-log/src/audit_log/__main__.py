"""``python -m audit_log``."""

from audit_log.app import build
from audit_log.settings import Settings
from shared.service import main

if __name__ == "__main__":
    main(Settings, build)
