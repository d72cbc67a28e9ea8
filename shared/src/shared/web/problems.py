"""How our APIs say that something is wrong: problem details (RFC 9457), as documented."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a request.

    Attributes:
        status: The HTTP status.
        title: What kind of problem it is, in a word or two.
        detail: What is wrong, and what to do about it.
    """

    status: int
    title: str
    detail: str
    extra: Any = None


_POSSIBLE: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

_PROBLEMS: Final[Mapping[int, ResponseSpec]] = {
    int(status): ResponseSpec(
        Problem,
        description=status.phrase,
        media_type="application/problem+json",  # type: ignore[arg-type]
        generate_examples=False,
    )
    for status in _POSSIBLE
}
"""What any route may answer instead of what it is asked for."""


def documented(routes: Sequence[HTTPRouteHandler]) -> Sequence[HTTPRouteHandler]:
    """Return *routes* with the problems that each may answer with in their documents."""
    for route in routes:
        route.responses = {**_PROBLEMS, **(route.responses or {})}
    return routes


def files(*media_types: str) -> dict[int, ResponseSpec]:
    """Return how a route is documented that answers with a file of one of several kinds."""
    return {
        200: ResponseSpec(
            Any,
            description=" or ".join(media_types),
            media_type="*/*",  # type: ignore[arg-type]
            generate_examples=False,
        )
    }
