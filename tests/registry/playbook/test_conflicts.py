"""Conflicts of the playbook: read, in one direction, and never in a circle."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.playbook.actions import PlaybookError
from registry.playbook.conflicts import Conflict, conflicts_by_action
from registry.playbook.playbook import (
    ACTIONS_FILE,
    SEQUENCES_FILE,
    check_reads,
    load_playbook,
    read_playbook,
)
from registry.playbook.sequences import Start

BOOK = load_playbook()
TEXT = ACTIONS_FILE.read_text(encoding="utf-8")
SEQUENCES = SEQUENCES_FILE.read_text(encoding="utf-8")


def conflict(first, second):
    return Conflict(
        actions=(first,),
        objectives=(),
        to_actions=(second,),
        to_objectives=(),
        days=0.0,
        why="They do not go together.",
    )


def with_conflict(lines):
    return read_playbook(f"{TEXT}\n[[conflict]]\n{lines}\n", SEQUENCES)


def test_the_playbook_says_what_gives_way_to_an_incident():
    ways = BOOK.gives_way["next_plan_preview"]
    assert "incident_notice" in ways[0].to
    assert ways[0].conflict.days == 14
    assert not BOOK.gives_way["incident_notice"]


def test_what_others_give_way_to_comes_first():
    order = list(BOOK.gives_way)
    assert order.index("incident_notice") < order.index("next_plan_preview")
    assert sorted(order) == sorted(BOOK.by_id)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('to_actions = ["ceo_email"]\nwhy = "x"', "nothing gives way"),
        ('actions = ["ceo_email"]\nwhy = "x"', "says not to what"),
        (
            'actions = ["sing"]\nto_actions = ["ceo_email"]\nwhy = "x"',
            r"names the action\(s\) sing",
        ),
        ('objectives = ["sell"]\nto_actions = ["ceo_email"]\nwhy = "x"', "`objectives` names sell"),
        ('actions = ["ceo_email"]\nto_actions = ["dunning"]\nwhy = "x"\ndays = -1', "at least 0"),
        (
            'actions = ["ceo_email"]\nto_actions = ["ceo_email"]\nwhy = "x"',
            "lead in a circle: 'ceo_email' gives way to 'ceo_email'",
        ),
        ('objectives = ["expand"]\nto_objectives = ["expand"]\nwhy = "x"', "lead in a circle"),
    ],
)
def test_a_mistake_in_a_conflict_is_refused(lines, message):
    with pytest.raises(PlaybookError, match=message):
        with_conflict(lines)


def test_a_circle_is_named_from_action_to_action():
    circle = [
        conflict("dunning", "ceo_email"),
        conflict("ceo_email", "success_call"),
        conflict("success_call", "dunning"),
    ]
    said = "'ceo_email' gives way to 'success_call' gives way to 'dunning' gives way to 'ceo_email'"
    with pytest.raises(PlaybookError, match=re.escape(said)):
        conflicts_by_action(BOOK.actions, circle)
    assert len(conflicts_by_action(BOOK.actions, circle[:2])) == len(BOOK.actions)


@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_conflicts_are_put_in_order_or_refused_as_a_circle(pairs):
    actions = [replace(BOOK.actions[0], id=f"a{n}") for n in range(6)]
    conflicts = [conflict(f"a{one}", f"a{other}") for one, other in pairs]
    try:
        order = list(conflicts_by_action(actions, conflicts))
    except PlaybookError:
        reached = {n: {other for one, other in pairs if one == n} for n in range(6)}
        for _ in range(6):
            reached = {n: to.union(*(reached[m] for m in to)) for n, to in reached.items()}
        assert any(n in to for n, to in reached.items())
        return
    for one, other in pairs:
        assert order.index(f"a{other}") < order.index(f"a{one}")


# -- what a playbook may read --------------------------------------------------------------------


def reads(**changes):
    names = {name for _, condition in BOOK.conditions for name in condition.names}
    names |= {start.name for sequence in BOOK.sequences for start in sequence.day_zero}
    alerts = {alert for _, condition in BOOK.conditions for alert in condition.alerts}
    alerts |= {start.name for sequence in BOOK.sequences for start in sequence.day_zero}
    return {"names": names, "alerts": alerts, **changes}


def test_what_the_playbook_reads_is_enough_for_it():
    check_reads(BOOK, **reads())


@pytest.mark.parametrize(
    ("lacks", "missing", "message"),
    [
        (
            "names",
            "health_score",
            r"Action '\w+': .* reads 'health_score', and there is no such feat",
        ),
        ("names", "legal_hold", r"Guard number \d+: .* reads 'legal_hold'"),
        ("names", "days_to_first_use", "reads 'days_to_first_use'"),
        ("alerts", "renewal_refused", "reads 'renewal_refused'"),
        ("alerts", "usage_halved", "reads 'usage_halved', and there is no such warning sign"),
        ("names", "days_since_login", "'days_since_login'"),
    ],
)
def test_a_condition_that_reads_what_nobody_declared_is_refused(lacks, missing, message):
    known = reads()
    with pytest.raises(PlaybookError, match=message):
        check_reads(BOOK, **{**known, lacks: known[lacks] - {missing}})


@pytest.mark.parametrize("kind", ["age", "ahead", "alert"])
def test_a_clock_that_nobody_declared_is_refused(kind):
    moon = replace(BOOK.sequences[0], day_zero=(Start(kind=kind, name="full_moon"),))
    with pytest.raises(PlaybookError, match="its clock starts with 'full_moon'"):
        check_reads(replace(BOOK, sequences=(moon,)), **reads())


def test_a_sign_by_which_a_renewal_counts_is_one_that_there_is():
    book = replace(BOOK, renewal_counts_signs=frozenset({"eclipse"}))
    with pytest.raises(PlaybookError, match="renewal_counts_signs names eclipse"):
        check_reads(book, **reads())
