"""Taking a mail apart that anybody may have made, in bounded time; pure.

The standard library's parser is made for mail that means well: each nesting costs it a recursion
and a look at every line within, the parameters of a header cost the square of their length, and an
odd header may raise anything.  Here nothing raises, and the work grows with the size alone.
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

_HEAD: Final = 65_536  # octets of a header block that are looked at
_VALUE: Final = 8_192  # characters of a field
_PARAMETERS: Final = 1_000  # characters of a media type and its parameters
_DECODED: Final = 262_144  # octets of a body
_DEEPEST: Final = 8
_PARTS: Final = 200
_DELIMITERS: Final = 10_000  # lines that look like one

_NAME: Final = re.compile(r"[!-9;-~]{1,100}")
_TYPE: Final = re.compile(r"\s*([\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100})")
_PARAMETER: Final = re.compile(r';\s*([\w*-]{1,100})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]+))')

Fields = tuple[tuple[str, str], ...]
"""Header fields in order: names in lower case, values on one line."""


def first(fields: Fields, name: str) -> str:
    """Return the first value of a field; empty if there is none."""
    return next((value for key, value in fields if key == name), "")


@dataclass(frozen=True, slots=True)
class Part:
    """A mail, or a part of one.

    Attributes:
        body: As it stands, its lines ended by LF.
    """

    fields: Fields
    body: bytes

    def get(self, name: str) -> str:
        """Return the first value of a field; empty if there is none."""
        return first(self.fields, name)

    @property
    def kind(self) -> str:
        """The media type in lower case; text/plain where none is told."""
        match = _TYPE.match(self.get("content-type"))
        return match[1].lower() if match else "text/plain"

    def parameter(self, name: str) -> str:
        """Return a parameter of the media type; empty if there is none."""
        for key, quoted, plain in _PARAMETER.findall(self.get("content-type")[:_PARAMETERS]):
            if key.lower() == name:
                return re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        return ""

    @property
    def decoded(self) -> bytes:
        """The body without its transfer encoding, as much of it as anybody needs."""
        body = self.body[:_DECODED]
        match self.get("content-transfer-encoding").strip().lower():
            case "base64":
                letters = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
                return binascii.a2b_base64(letters[: len(letters) // 4 * 4] + _padding(letters))
            case "quoted-printable":
                return binascii.a2b_qp(body)
            case _:
                return body

    @property
    def text(self) -> str:
        """The body as text.  What charset it claims is not believed."""
        return _decoded(self.decoded.replace(b"\r\n", b"\n"))

    @property
    def parts(self) -> list["Part"]:
        """The parts of a multipart; of all others none."""
        boundary = self.parameter("boundary").rstrip()
        if not self.kind.startswith("multipart/") or not boundary:
            return []
        return [_part(piece) for piece in _pieces(self.body, _octets(boundary))]

    @property
    def enclosed(self) -> "Part":
        """The mail, or its headers, that this part is a copy of."""
        return parse(self.decoded)


def parse(content: bytes) -> Part:
    """Return the mail in *content*, however its lines end."""
    return _part(content.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))


def walk(mail: Part) -> Iterator[Part]:
    """Return a mail and the parts in it, but not those of mails that it encloses."""
    return islice(_walk(mail, 0), _PARTS)


def groups(text: str) -> list[Fields]:
    """Return groups of fields with empty lines between them, as reports are made of."""
    found = re.split(r"\n[ \t]*\n", text.strip("\n"), maxsplit=_PARTS)
    return [fields for group in found[:_PARTS] if (fields := _fields(group))]


def _walk(part: Part, depth: int) -> Iterator[Part]:
    yield part
    if depth < _DEEPEST:
        for inner in part.parts:
            yield from _walk(inner, depth + 1)


def _part(content: bytes) -> Part:
    if content.startswith(b"\n"):
        return Part((), content[1:])
    head, _, body = content.partition(b"\n\n")
    return Part(_fields(_decoded(head[:_HEAD])), body)


def _fields(head: str) -> Fields:
    found: list[tuple[str, list[str]]] = []
    for line in head.split("\n"):
        if line[:1] in (" ", "\t"):
            if found:
                found[-1][1].append(line.strip())
            continue
        name, colon, value = line.partition(":")
        if colon and _NAME.fullmatch(name):
            found.append((name.lower(), [value.strip()]))
    return tuple((name, " ".join(lines)[:_VALUE]) for name, lines in found)


def _pieces(body: bytes, boundary: bytes) -> list[bytes]:
    """Return what lies between delimiter lines; the last piece may lack its end."""
    body, mark = b"\n" + body, b"\n--" + boundary
    found: list[bytes] = []
    start: int | None = None
    at = body.find(mark)
    for _ in range(_DELIMITERS):
        if at < 0 or len(found) >= _PARTS:
            break
        end = body.find(b"\n", at + 1)
        end = len(body) if end < 0 else end
        rest = body[at + len(mark) : end].strip()
        if rest in (b"", b"--"):
            if start is not None:
                found.append(body[start:at])
            start = end + 1
            if rest:
                return found
        at = body.find(mark, at + len(mark))
    return found if start is None else [*found, body[start:]]


def _padding(letters: bytes) -> bytes:
    """Return nothing, or the last letters of base64 with the padding that they lack."""
    rest = letters[len(letters) // 4 * 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def _decoded(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
