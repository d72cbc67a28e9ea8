"""The states of a delivery, and how long it is tried."""

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.delivery import OPEN, STEPS, WAITING, Patience, Reply
from notifier.smtp import masked


def test_every_state_is_reached_and_those_that_end_end():
    reached = set().union(*STEPS.values())
    assert reached == set(STEPS)
    assert {state for state, after in STEPS.items() if not after} == {
        "bounced",
        "complained",
        "suppressed",
        "expired",
    }
    assert WAITING < OPEN < set(STEPS)
    assert all(STEPS[state] for state in OPEN)


def test_a_mail_in_doubt_is_sent_again_only_through_the_queue():
    assert "sending" not in STEPS["unknown"]
    assert "sending" not in STEPS["accepted"]


@pytest.mark.parametrize(
    ("code", "status", "permanent", "bad_address"),
    [
        (450, None, False, False),
        (451, "4.3.0", False, False),
        (550, None, True, False),
        (550, "5.1.1", True, True),
        (550, "5.1.10", True, True),
        (553, "5.1.3", True, True),
        (550, "5.2.1", True, True),
        (552, "5.2.2", False, False),  # a full mailbox is emptied
        (554, "5.3.2", False, False),
        (552, "5.3.4", True, False),
        (550, "5.7.1", True, False),
        (554, "4.7.1", False, False),  # the status knows better than the code
        (450, "5.1.1", True, True),
    ],
)
def test_what_a_reply_means(code: int, status: str | None, permanent: bool, bad_address: bool):
    reply = Reply(code, status)
    assert reply.permanent == permanent
    assert reply.bad_address == bad_address


@given(st.integers(1, 200), st.integers())
def test_pauses_grow_up_to_the_longest(attempts: int, seed: int):
    patience = Patience()
    pause = patience.pause(attempts, random.Random(seed))  # noqa: S311 - not secret
    exact = min(patience.first * 2 ** min(attempts - 1, 30), patience.longest)
    assert exact <= pause <= exact * (1 + patience.jitter) + timedelta(microseconds=1)


@given(st.text(), st.sampled_from(["ann", "a.b+c", "x"]))
def test_no_reply_names_the_address(text: str, local: str):
    said = masked(f"{text} {local}@x.example {local.upper()} {text}", f"{local}@x.example")
    assert "@x.example" not in said
    assert local not in said.split()
    assert said.isprintable()
    assert len(said) <= 200
