"""A quick look at content that is in order, which nearly all of it is.

Pydantic says precisely what is wrong with an event; that takes ten times as long as to see that
nothing is.  From a model follows a msgspec type that accepts less than it: what that type accepts
is valid, and what it refuses is Pydantic's to judge.
"""

from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
import msgspec
from pydantic import StringConstraints
from pydantic.fields import FieldInfo

from shared.events.model import Data

_ESCAPE: Final = b"\\"
_DELETE: Final = b"\x7f"


@cache
def check_for(model: type[Data]) -> Callable[[bytes], bool]:
    """Return a function that returns True only for the JSON of a valid *model*."""
    decoder = msgspec.json.Decoder(_struct(model))

    def is_valid(body: bytes) -> bool:
        # Without these no string can hold a control character, which some fields forbid.
        if _ESCAPE in body or _DELETE in body:
            return False
        try:
            decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        return True

    return is_valid


def _struct(model: type[Data]) -> type[msgspec.Struct]:
    hints = get_type_hints(model, include_extras=True)
    fields: list[Any] = []
    for name, field in model.model_fields.items():
        hint = _type(hints[name])
        fields.append((name, hint) if field.is_required() else (name, hint, None))
    closed = model.model_config.get("extra") == "forbid"
    required_first = sorted(fields, key=len)
    return msgspec.defstruct(model.__name__, required_first, forbid_unknown_fields=closed, gc=False)


def _type(hint: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        base = _type(arguments[0])
        for limit in _limits(arguments[1:]):
            base = Annotated[base, limit]
        return base
    if origin in (Union, UnionType):
        return Union[tuple(_type(argument) for argument in arguments)]  # noqa: UP007 - computed
    if origin is tuple:
        return tuple[_type(arguments[0]), ...]
    if origin is Literal or hint in (str, int, type(None)):
        return hint
    if isinstance(hint, type) and issubclass(hint, Data):
        return _struct(hint)
    raise TypeError(f"no quick look at {hint}")


def _limits(metadata: tuple[Any, ...]) -> list[msgspec.Meta]:
    limits: list[msgspec.Meta] = []
    for item in metadata:
        match item:
            case StringConstraints(min_length=least, max_length=most, pattern=pattern):
                # Patterns that only forbid control characters were dealt with before.
                named = None if pattern is None or str(pattern).startswith("^[^") else str(pattern)
                limits.append(msgspec.Meta(min_length=least, max_length=most, pattern=named))
            case FieldInfo():
                limits += [
                    msgspec.Meta(max_length=limit.max_length)
                    for limit in item.metadata
                    if isinstance(limit, annotated_types.MaxLen)
                ]
            case _:
                raise TypeError(f"no quick look at {item}")
    return limits
