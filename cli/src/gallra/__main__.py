"""``python -m gallra``."""

from gallra.main import app

app()
