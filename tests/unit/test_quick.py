"""The quick look at an action: never kinder than the model, and kind to what is common."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.events.platform import ActionPerformed
from shared.events.quick import check_for

quick = check_for(ActionPerformed)
GOOD: dict[str, Any] = {
    "v": 1,
    "action": "compute.server.delete",
    "phase": "result",
    "outcome": "success",
    "actor": {"type": "user", "id": "u-1", "name": "Åsa"},
    "origin": {"channel": "portal", "ip": "192.0.2.1", "agent": "x"},
    "target": {"type": "compute.server", "id": "srv-1"},
    "customer_id": "c-1",
    "request": {"id": "r", "path": "/v2"},
    "reason": None,
    "changes": [{"field": "a", "old": None, "new": "b"}],
}
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["x" * 200, "x" * 201, "a.b", "\x00", "\x7f", "\n", "user", "attempt"])
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["id", "type", "name", "field", "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)


def valid(body: bytes) -> bool:
    try:
        ActionPerformed.model_validate_json(body)
    except ValidationError:
        return False
    return True


@given(st.data())
def test_what_it_accepts_the_model_accepts(data: st.DataObject) -> None:
    changed = json.loads(json.dumps(GOOD))
    for _ in range(data.draw(st.integers(0, 2))):
        place = changed
        name = data.draw(st.sampled_from([*GOOD, "unknown"]))
        if isinstance(place.get(name), dict) and data.draw(st.booleans()):
            place = place[name]
            name = data.draw(st.sampled_from([*place, "unknown"]))
        if data.draw(st.booleans()):
            place.pop(name, None)
        else:
            place[name] = data.draw(values)
    body = json.dumps(changed, ensure_ascii=data.draw(st.booleans())).encode(errors="surrogatepass")
    if quick(body):
        assert valid(body)


@given(st.binary(max_size=40))
def test_it_answers_to_anything(body: bytes) -> None:
    assert not quick(body)


def test_what_is_common_needs_no_second_look() -> None:
    assert quick(json.dumps(GOOD, ensure_ascii=False).encode())
    least = {n: v for n, v in GOOD.items() if n not in ("request", "reason", "changes")}
    assert quick(json.dumps(least, ensure_ascii=False).encode())
