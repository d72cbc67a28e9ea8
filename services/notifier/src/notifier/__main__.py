"""``python -m notifier``."""

from notifier.app import build
from notifier.settings import Settings
from shared.service import main

if __name__ == "__main__":
    main(Settings, build)
