"""A schema that was ever committed may only be added to; anything else is a new event type."""

import copy
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared import contracts
from shared.events import BY_TYPE

ROOT = Path(__file__).parents[2]
SCHEMAS = "docs/schemas"

SMALLER_IS_NARROWER = ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum")
LARGER_IS_NARROWER = ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum")


def narrowings(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return where *new* lacks what *old* had, or refuses what *old* accepted."""
    return list(_narrowed(_inlined(old, old), _inlined(new, new), "$"))


def _inlined(part: Any, root: dict[str, Any]) -> Any:
    if isinstance(part, list):
        return [_inlined(p, root) for p in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inlined(root["$defs"][part["$ref"].rpartition("/")[2]], root)
    return {name: _inlined(p, root) for name, p in part.items() if name != "$defs"}


def _narrowed(old: dict[str, Any], new: dict[str, Any], where: str) -> Iterator[str]:
    for choice in _choices(old) if "anyOf" in new else []:
        yield from min((list(_narrowed(choice, n, where)) for n in _choices(new)), key=len)
    before, after = _values(old), _values(new)
    if after is not None and (before is None or not before <= after):
        yield f"{where}: a type or value is gone"
    yield from _narrowed_limits(old, new, where)
    if new.get("additionalProperties") is False is not old.get("additionalProperties"):
        yield f"{where}: closed"
    for name in set(new.get("required", [])) - set(old.get("required", [])):
        yield f"{where}.{name}: required now"
    yield from _narrowed_parts(old, new, where)


def _choices(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what *schema* is under each of its alternatives, all else included."""
    rest = {word: part for word, part in schema.items() if word != "anyOf"}
    return [_joined(rest, choice) for choice in schema.get("anyOf", [{}])]


def _joined(rest: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    both = {"required": [*rest.get("required", []), *choice.get("required", [])]}
    parts = rest.get("properties", {}), choice.get("properties", {})
    names = dict.fromkeys([*parts[0], *parts[1]])
    properties = {name: {**parts[0].get(name, {}), **parts[1].get(name, {})} for name in names}
    return {**rest, **choice, **both, **({"properties": properties} if properties else {})}


def _narrowed_limits(old: dict[str, Any], new: dict[str, Any], where: str) -> Iterator[str]:
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{where}: another pattern"
    # A new format is a remark (JSON Schema 2020-12 does not assert it); another one is a change.
    if "format" in old and new.get("format", old["format"]) != old["format"]:
        yield f"{where}: another format"
    for word in SMALLER_IS_NARROWER:
        if word in new and new[word] < old.get(word, float("inf")):
            yield f"{where}: smaller {word}"
    for word in LARGER_IS_NARROWER:
        if word in new and new[word] > old.get(word, 0):
            yield f"{where}: larger {word}"


def _narrowed_parts(old: dict[str, Any], new: dict[str, Any], where: str) -> Iterator[str]:
    for name, part in old.get("properties", {}).items():
        if name in new.get("properties", {}):
            yield from _narrowed(part, new["properties"][name], f"{where}.{name}")
        else:
            yield f"{where}.{name}: gone"
    for word in ("items", "additionalProperties", "propertyNames"):
        before, after = old.get(word), new.get(word)
        if isinstance(after, dict):
            yield from _narrowed(
                before if isinstance(before, dict) else {}, after, f"{where}.{word}"
            )


def _values(schema: dict[str, Any]) -> set[str] | None:
    """Return the values that *schema* names, else its type; None if it names neither."""
    if "const" in schema or "enum" in schema:
        return {json.dumps(value) for value in schema.get("enum", [schema.get("const")])}
    return {schema["type"]} if "type" in schema else None


OLD: dict[str, Any] = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^a"},
        "day": {"type": "string", "format": "date"},
        "state": {"enum": ["open", "closed"], "type": "string"},
        "group": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "who": {"$ref": "#/$defs/Who"},
        "refs": {"type": "array", "items": {"type": "string"}, "maxItems": 500},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "$defs": {"Who": {"type": "object", "properties": {"name": {"type": "string"}}}},
}

Change = Callable[[dict[str, Any]], object]

FORBIDDEN: dict[str, Change] = {
    "a property goes": lambda s: s["properties"].pop("state"),
    "a nested property goes": lambda s: s["$defs"]["Who"]["properties"].pop("name"),
    "a property becomes required": lambda s: s["required"].append("state"),
    "a new property is required": lambda s: (
        s["properties"].update(more={"type": "string"}),
        s["required"].append("more"),
    ),
    "a value goes": lambda s: s["properties"]["state"]["enum"].remove("open"),
    "a free value is listed now": lambda s: s["properties"]["id"].update(enum=["a"]),
    "a type changes": lambda s: s["properties"]["id"].update(type="integer"),
    "null is refused now": lambda s: s["properties"].update(group={"type": "string"}),
    "an alternative goes": lambda s: s["properties"]["group"]["anyOf"].pop(),
    "an item's type changes": lambda s: s["properties"]["refs"]["items"].update(type="object"),
    "a map's type changes": lambda s: s["properties"]["labels"].update(
        additionalProperties={"type": "integer"}
    ),
    "fewer fit": lambda s: s["properties"]["refs"].update(maxItems=499),
    "a limit is new": lambda s: s["properties"]["state"].update(maxLength=5),
    "more are needed": lambda s: s["properties"]["id"].update(minLength=2),
    "another pattern": lambda s: s["properties"]["id"].update(pattern="^b"),
    "another format": lambda s: s["properties"]["day"].update(format="date-time"),
    "what is unknown is refused now": lambda s: s.update(additionalProperties=False),
    "one of several is needed now": lambda s: s.update(
        anyOf=[{"required": ["state"]}, {"required": ["who"]}]
    ),
}

ALLOWED: dict[str, Change] = {
    "nothing": lambda _: None,
    "a property": lambda s: s["properties"].update(more={"type": "string"}),
    "a value": lambda s: s["properties"]["state"]["enum"].append("frozen"),
    "null": lambda s: s["properties"].update(
        state={"anyOf": [s["properties"]["state"], {"type": "null"}]}
    ),
    "room": lambda s: s["properties"]["id"].update(maxLength=300),
    "freedom": lambda s: s["properties"]["id"].pop("pattern"),
    "a format": lambda s: s["properties"]["id"].update(format="idn-email"),
    "words": lambda s: s.update(title="Case", description="A case."),
    "the same under another name": lambda s: s["properties"].update(
        who=s["$defs"].pop("Who"),
    ),
}


@pytest.mark.parametrize("change", FORBIDDEN)
def test_a_narrower_schema_is_found_out(change: str):
    new = copy.deepcopy(OLD)
    FORBIDDEN[change](new)
    assert narrowings(OLD, new)


@pytest.mark.parametrize("addition", ALLOWED)
def test_an_addition_is_no_narrowing(addition: str):
    new = copy.deepcopy(OLD)
    ALLOWED[addition](new)
    assert narrowings(OLD, new) == []


def test_the_catalogue_only_adds_to_every_schema_ever_committed():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so there is no history to compare with")
    assert dict(_breaches()) == {}, "what has been promised must hold: make a new event type"


def _breaches() -> Iterator[tuple[str, list[str]]]:
    for name, blob in sorted(_ever_committed()):
        event_type = BY_TYPE.get(name)
        if event_type is None:
            yield name, ["the type is gone"]
            continue
        old = json.loads(_git("cat-file", "blob", blob))
        if found := narrowings(old, contracts.schema(event_type)):
            yield name, found


def _ever_committed() -> set[tuple[str, str]]:
    """Return the type and the blob of every schema that any ancestor of HEAD held."""
    history = _git("log", "--format=", "--raw", "--no-abbrev", "--no-renames", "--", SCHEMAS)
    changes = [line.split() for line in history.splitlines()]
    return {(Path(path).stem, blob) for *_, blob, action, path in changes if action in ("A", "M")}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout
