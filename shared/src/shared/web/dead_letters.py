"""Events that one service set aside, over HTTP: listed, sent again, let go; never what they say."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from aiokafka.errors import KafkaError
from litestar import Request, get, post
from litestar.datastructures import State
from litestar.exceptions import ClientException, ServiceUnavailableException
from litestar.params import FromQuery, JSONBody, QueryParameter

from shared.dead_letters import AT_ONCE, Choice, DeadLetters, Outcome, Stands, listed, tally
from shared.errors import Rejected
from shared.postgres import Pool
from shared.web.access import Caller, Role

SEES: Final[frozenset[Role]] = frozenset({"operator", "auditor"})
_PAGE: Final = 100
_CONFLICT: Final = 409

Asked = Request[Caller, Any, State]
StandsAs = Annotated[Stands, QueryParameter(name="state")]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are dealt with: some that are named, or all that wait of a topic.

    Attributes:
        letters: Ids, of 500 letters at most.
        code: Of those of the topic, only the ones that were set aside for this.
        by: Who decides, unless a token tells that.
    """

    letters: list[UUID] | None = None
    topic: str | None = None
    code: str | None = None
    by: str = ""

    def choice(self) -> Choice:
        """Return what is meant.

        Raises:
            Rejected: that is not clear.
        """
        if (self.topic is None) == (not self.letters) or (self.letters and self.code):
            raise Rejected("name either letters or a topic", code="unclear-choice")
        if len(self.letters or ()) > AT_ONCE:
            raise Rejected(f"name {AT_ONCE} letters at most", code="unclear-choice")
        return Choice(tuple(self.letters or ()), self.topic, self.code)


@get("/api/v1/dead-letters", roles=SEES)
async def dead_letters(
    state: State,
    stands: StandsAs = "waiting",
    topic: FromQuery[str | None] = None,
    code: FromQuery[str | None] = None,
    cursor: FromQuery[UUID | None] = None,
) -> dict[str, Any]:
    """Return what this service set aside, newest first, a hundred at a time.

    ``waiting`` has how many wait of each topic, whatever is looked for.
    """
    pool: Pool = state.pool
    async with pool.acquire() as tx:
        found = await listed(tx, stands=stands, topic=topic, code=code, before=cursor, limit=_PAGE)
        waiting = await tally(tx)
    group = state.dead_letters.group
    return {
        "letters": [{**letter, "consumer": group} for letter in found],
        "cursor": str(found[-1]["id"]) if len(found) == _PAGE else None,
        "waiting": [{**row, "consumer": group} for row in waiting],
    }


@post("/api/v1/dead-letters/redrive", status_code=200, roles={"operator"})
async def redrive(request: Asked, state: State, data: JSONBody[Wanted]) -> dict[str, Any]:
    """Send letters again, to where they came from, up to 500 at once: do so after a repair.

    Whoever handled such an event before passes it over.
    """
    by, choice = request.user.acting(data.by), data.choice()
    desk: DeadLetters = state.dead_letters
    try:
        done = await desk.redrive(state.pool, state.producer, choice, by)
    except KafkaError as error:
        raise ServiceUnavailableException(
            f"the broker does not give out dead letters: {type(error).__name__}"
        ) from None
    if not done.settled and done.refused:
        raise ServiceUnavailableException(
            "the broker takes none of them; may this service write to where they came from?"
        )
    if not done.settled and done.missing:
        raise ClientException(
            "they are not on their dead-letter topic: set aside a moment ago, or longer ago than"
            " the topic keeps them",
            status_code=_CONFLICT,
        )
    return _told(done, choice)


@post("/api/v1/dead-letters/drop", status_code=200, roles={"operator"})
async def drop(request: Asked, state: State, data: JSONBody[Wanted]) -> dict[str, Any]:
    """Note that letters will not be sent again, up to 500 at once; this is not taken back."""
    by, choice = request.user.acting(data.by), data.choice()
    desk: DeadLetters = state.dead_letters
    return _told(await desk.drop(state.pool, choice, by), choice)


def _told(done: Outcome, choice: Choice) -> dict[str, Any]:
    if not done.settled and choice.letters:
        raise ClientException(
            "there is no such letter, or it was dealt with before", status_code=_CONFLICT
        )
    return asdict(done)


ROUTES: Final = [dead_letters, redrive, drop]
