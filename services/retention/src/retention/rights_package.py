"""What a person fetches: the answer and a copy of the data, sealed by what their link says."""

import hashlib
import io
import json
import secrets
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import Rejected

_NONCE: Final = bytes(12)  # each key seals one package
_KEY: Final = 32


def new_link() -> str:
    """Return what a new link says: nobody can guess it, and we keep no more than its digest."""
    return secrets.token_urlsafe(_KEY)


def fetched_by(link: str) -> bytes:
    """Return the digest by which a link is recognised."""
    return hashlib.sha256(link.encode()).digest()


def pack(answer: Mapping[str, Any], letter: bytes, data: Iterable[tuple[str, str, bytes]]) -> bytes:
    """Return a zip file of an answer, the same as PDF, and holder, category and JSON of data."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as package:
        text = json.dumps(answer, indent=2, ensure_ascii=False, default=str)
        package.writestr("answer.json", text)
        package.writestr("answer.pdf", letter)
        for number, (holder, category, body) in enumerate(data, 1):
            package.writestr(f"data/{category}/{holder}-{number}.json", body)
    return written.getvalue()


def seal(package: bytes, link: str) -> bytes:
    """Return *package* as only who has the link can read it."""
    return AESGCM(_key(link)).encrypt(_NONCE, package, None)


def unseal(sealed: bytes, link: str) -> bytes:
    """Return the package that a link opens.

    Raises:
        Rejected: it was changed, or is another link's.
    """
    try:
        return AESGCM(_key(link)).decrypt(_NONCE, sealed, None)
    except InvalidTag:
        raise Rejected("the copy is damaged; ask for it again", code="unsealable") from None


def _key(link: str) -> bytes:
    derived = HKDF(SHA256(), _KEY, salt=None, info=b"gallra rights package")
    return derived.derive(link.encode())
