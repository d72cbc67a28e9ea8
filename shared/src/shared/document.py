"""Reading YAML such that whatever is wrong with it names file, line and field; pure."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

T = TypeVar("T")


class DocumentError(Exception):
    """Files that cannot be right.

    Attributes:
        problems: Each names its file, the line and field where there is one, and what to do.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def parse(name: str, text: str, model: TypeAdapter[T]) -> T:
    """Return the content of the file *name*, as *model* describes it.

    Raises:
        DocumentError: *text* is no YAML, names a field twice, or is not as described.
    """
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        line = f":{mark.line + 1}" if mark else ""
        raise DocumentError(
            [f"{name}{line}: is no YAML: correct the line or the one above"]
        ) from error
    if root is None:
        raise DocumentError([f"{name}: is empty: write it or delete it"])
    if repeated := [f"{name}:{line}: {key}: stands twice" for line, key in _repeated(root)]:
        raise DocumentError(repeated)
    try:
        return model.validate_python(content)
    except ValidationError as error:
        problems = [
            f"{name}:{_place(root, fault)}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_url=False, include_context=False)
        ]
        raise DocumentError(problems) from error


def _repeated(node: yaml.Node) -> Iterator[tuple[int, str]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item)


def _walk(root: yaml.Node, path: Sequence[str | int]) -> Iterator[tuple[str, int]]:
    """Yield each part of *path* that stands in the file, and its line.

    A path of pydantic also names the alternatives of a choice, which stand nowhere.
    """
    node = root
    for part in path:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    node = value
                    yield str(part), key.start_mark.line + 1
                    break
        elif isinstance(node, yaml.SequenceNode) and part in range(len(node.value)):
            node = node.value[int(part)]
            yield str(part), node.start_mark.line + 1


def _place(root: yaml.Node, fault: ErrorDetails) -> str:
    """Return the line and the field, as people write them, that *fault* is about."""
    present = list(_walk(root, fault["loc"]))
    line = present[-1][1] if present else root.start_mark.line + 1
    field = [part for part, _ in present]
    if fault["type"] == "missing":
        field.append(str(fault["loc"][-1]))
    return f"{line}: {'.'.join(field) or 'the whole file'}"
