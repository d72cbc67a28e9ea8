"""``python -m retention``."""

from retention.app import build
from retention.settings import Settings
from shared.service import main

if __name__ == "__main__":
    main(Settings, build)
