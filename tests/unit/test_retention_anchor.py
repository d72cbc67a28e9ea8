"""From facts, in whatever order they came, to the day that time runs from."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.anchor import Anchor, Facts, Resolved, ServiceEvent, resolve
from retention.rule import Clock
from shared.errors import Rejected

BOOKED = Clock(anchors=("booked",))
SERVICE = Clock(while_service=True)
CONTACT = Clock(while_service=True, ended_by=("removed",))
NEWSLETTER = Clock(ended_by=("unsubscribed", "bounced"))
LOG = Clock(anchors=("performed",), while_service=True)


def booked(anchor_id: str, day: date, **more: Any) -> Anchor:
    return Anchor(anchor_id, "booked", day, **more)


def life(*changes: Any, service: str = "sv-1") -> list[ServiceEvent]:
    return [ServiceEvent(service, change, moment) for change, moment in changes]


def day_of(clock: Clock, facts: Facts, **more: Any) -> date | str | None:
    found = resolve(clock, facts, **more)
    return found.day if found.state == "known" else found.state


def test_the_latest_booking_counts_or_the_first() -> None:
    facts = Facts([booked("b", date(2025, 1, 2)), booked("a", date(2024, 12, 20))])
    assert day_of(BOOKED, facts) == date(2025, 1, 2)
    assert day_of(BOOKED.model_copy(update={"resolve": "first"}), facts) == date(2024, 12, 20)


def test_superseded_and_revoked_anchors_do_not_count() -> None:
    facts = Facts(
        [
            booked("a", date(2026, 1, 1)),
            booked("b", date(2024, 1, 1), supersedes="a"),
            booked("c", date(2027, 1, 1)),
        ],
        revoked=frozenset("c"),
    )
    assert day_of(BOOKED, facts) == date(2024, 1, 1)


def test_a_missing_anchor_is_named_and_not_guessed() -> None:
    found = resolve(BOOKED, Facts([Anchor("p", "paid", date(2024, 1, 1))]))
    assert (found.state, found.day) == ("indeterminate", None)
    assert str(found.missing) == "an occurrence: booked"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], "indeterminate"),
        ([("started", date(2024, 1, 1))], "open"),
        ([("terminated", date(2025, 3, 10))], date(2025, 3, 10)),
        ([("terminated", date(2025, 3, 10)), ("reactivated", date(2025, 3, 10))], "open"),
        ([("started", date(2025, 3, 10)), ("terminated", date(2025, 3, 10))], date(2025, 3, 10)),
        ([("terminated", date(2025, 3, 10)), ("termination-revoked", date(2025, 2, 1))], "open"),
        ([("termination-revoked", date(2025, 2, 1))], "open"),
        (
            [
                ("terminated", date(2024, 1, 31)),
                ("reactivated", date(2024, 6, 1)),
                ("terminated", date(2025, 1, 31)),
                ("termination-revoked", date(2024, 1, 31)),
            ],
            date(2025, 1, 31),
        ),
        (
            [
                ("terminated", datetime(2025, 3, 10, 8, tzinfo=UTC)),
                ("reactivated", datetime(2025, 3, 10, 7, tzinfo=UTC)),
            ],
            date(2025, 3, 10),
        ),
    ],
)
def test_one_service(changes: list[Any], expected: Any) -> None:
    assert day_of(SERVICE, Facts(services=life(*changes))) == expected


def test_a_customer_stays_while_any_service_runs() -> None:
    ended = life(("terminated", date(2025, 3, 10)))
    other = life(("started", date(2020, 1, 1)), service="sv-2")
    assert day_of(SERVICE, Facts(services=[*ended, *other])) == "open"
    later = life(("terminated", date(2024, 3, 10)), service="sv-2")
    assert day_of(SERVICE, Facts(services=[*ended, *other, *later])) == date(2025, 3, 10)


def test_what_was_ordered_to_be_purged_is_not_brought_back() -> None:
    back = life(("terminated", date(2025, 3, 10)), ("reactivated", date(2026, 3, 11)))
    assert day_of(SERVICE, Facts(services=back)) == "open"
    assert day_of(SERVICE, Facts(services=back, purge_issued=True)) == date(2025, 3, 10)


def test_a_contact_may_leave_before_its_customer_does() -> None:
    runs = life(("started", date(2020, 1, 1)))
    over = life(("terminated", date(2023, 1, 31)))
    removed = [Anchor("r", "removed", date(2024, 5, 5))]
    assert day_of(CONTACT, Facts(services=runs)) == "open"
    assert day_of(CONTACT, Facts(removed, services=runs)) == date(2024, 5, 5)
    assert day_of(CONTACT, Facts(removed, services=over)) == date(2023, 1, 31)


def test_a_subscription_lasts_until_it_is_ended() -> None:
    assert day_of(NEWSLETTER, Facts()) == "open"
    assert day_of(NEWSLETTER, Facts([Anchor("b", "bounced", date(2026, 1, 1))])) == date(2026, 1, 1)


def test_a_log_entry_needs_its_own_date_as_well() -> None:
    over = life(("terminated", date(2025, 3, 10)))
    assert day_of(LOG, Facts(services=over)) == "indeterminate"
    late = [Anchor("p", "performed", date(2025, 3, 12))]
    assert day_of(LOG, Facts(late, services=over)) == date(2025, 3, 12)
    assert day_of(LOG, Facts(services=life(("started", date(2020, 1, 1))))) == "open"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, date(2025, 2, 10)),
        ({"group": "own"}, date(2023, 11, 30)),
        ({"extension_basis": "f"}, date(2025, 2, 10)),
    ],
)
def test_a_group_is_kept_together(choice: dict[str, Any], expected: date) -> None:
    facts = Facts([booked("a", date(2023, 11, 30))], group=[date(2025, 2, 10)])
    assert day_of(BOOKED, facts, **choice) == expected


def test_own_interest_ends_when_erasure_is_asked_for() -> None:
    facts = Facts([booked("a", date(2023, 11, 30))], group=[date(2025, 2, 10)], erasure=True)
    assert day_of(BOOKED, facts, extension_basis="f") == date(2023, 11, 30)
    assert day_of(BOOKED, facts) == date(2025, 2, 10)


def test_an_unknown_document_of_the_group_leaves_it_undecided() -> None:
    facts = Facts([booked("a", date(2023, 11, 30))], group=[date(2025, 2, 10), None])
    assert day_of(BOOKED, facts) == "indeterminate"
    assert day_of(BOOKED, facts, group="own") == date(2023, 11, 30)


@pytest.mark.parametrize(
    "moment",
    [date(1899, 12, 31), date(2201, 1, 1), datetime(9999, 12, 31, 23, 59, tzinfo=UTC),
     datetime(2024, 1, 1)],  # noqa: DTZ001
)  # fmt: skip
def test_what_no_calendar_can_hold_is_rejected(moment: date) -> None:
    with pytest.raises(Rejected):
        resolve(BOOKED, Facts([booked("a", moment)]))


DAYS = st.dates(date(2015, 1, 1), date(2035, 12, 31))
MOMENTS = DAYS | st.datetimes(datetime(2015, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ANCHORS = st.lists(
    st.builds(
        Anchor,
        st.sampled_from("abcdef"),
        st.sampled_from(("performed", "removed")),
        MOMENTS,
        st.none() | st.sampled_from("abcdef"),
    ),
    max_size=6,
)
SERVICES = st.lists(
    st.builds(
        ServiceEvent,
        st.sampled_from(("sv-1", "sv-2")),
        st.sampled_from(("started", "terminated", "reactivated", "termination-revoked")),
        MOMENTS,
    ),
    max_size=8,
)
CLOCK = Clock(anchors=("performed",), while_service=True, ended_by=("removed",))


@given(ANCHORS, SERVICES, st.data())
def test_the_order_of_arrival_decides_nothing(
    anchors: list[Anchor], services: list[ServiceEvent], data: st.DataObject
) -> None:
    shuffled = Facts(
        data.draw(st.permutations(anchors)), services=data.draw(st.permutations(services))
    )
    assert resolve(CLOCK, shuffled) == resolve(CLOCK, Facts(anchors, services=services))


@given(ANCHORS, SERVICES)
def test_an_event_that_arrives_twice_counts_once(
    anchors: list[Anchor], services: list[ServiceEvent]
) -> None:
    twice = Facts([*anchors, *anchors], services=[*services, *services])
    assert resolve(CLOCK, twice) == resolve(CLOCK, Facts(anchors, services=services))


@given(st.lists(DAYS, min_size=1), DAYS)
def test_a_later_anchor_never_makes_earlier(days: list[date], later: date) -> None:
    def latest(moments: list[date]) -> Resolved:
        return resolve(BOOKED, Facts([booked(str(day), day) for day in moments]))

    before, after = latest(days).day, latest([*days, later]).day
    assert before is not None
    assert after == max(before, later)
