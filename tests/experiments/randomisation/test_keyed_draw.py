"""Keyed draws: exact, repeatable, fair over keys, and nothing that a reader could guess."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.randomisation.assignment import LotteryError
from experiments.randomisation.keyed_draw import Exploration, LotteryKey, draw, draw_with_seed

names = st.lists(st.text(max_size=6), min_size=2, max_size=12, unique=True)
keys = st.binary(min_size=32, max_size=40).map(lambda secret: LotteryKey(key_id="k", secret=secret))


def key(number):
    return LotteryKey(key_id=str(number), secret=number.to_bytes(32, "big"))


def pick(by, of, k, lottery_id="week 10"):
    return draw(by.position, of, k=k, lottery_id=lottery_id, key_id=by.key_id)


@given(of=names, by=keys, data=st.data())
def test_k_of_n_are_drawn_and_every_propensity_is_k_over_n(of, by, data):
    k = data.draw(st.integers(1, len(of) - 1))
    lot = pick(by, of, k)
    assert len(lot.drawn) == k == len(set(lot.drawn))
    assert set(lot.drawn) < set(of)
    assert lot.propensity == k / len(of)
    assert abs(sum(lot.propensity for _ in of) - k) < 1e-9


@given(of=names, by=keys, order=st.randoms(use_true_random=False))
def test_the_same_key_draws_the_same_whatever_the_order(of, by, order):
    shuffled = list(of)
    order.shuffle(shuffled)
    assert pick(by, of, 1) == pick(by, shuffled, 1)
    again = LotteryKey(key_id="k", secret=by.secret)
    assert pick(again, of, 1) == pick(by, of, 1)


@pytest.mark.parametrize(("n", "k"), [(2, 1), (5, 2), (7, 6)])
def test_over_keys_everybody_is_drawn_equally_often(n, k):
    of, keys_tried = [f"account {i}" for i in range(n)], 3_000
    drawn = Counter(name for number in range(keys_tried) for name in pick(key(number), of, k).drawn)
    share = k / n
    room = 4 * sqrt(share * (1 - share) / keys_tried)
    assert all(abs(drawn[name] / keys_tried - share) < room for name in of)


def test_two_lotteries_of_one_key_have_nothing_to_do_with_each_other():
    by, of = key(7), [f"account {i}" for i in range(2)]
    same = sum(
        pick(by, of, 1, f"a{n}").drawn == pick(by, of, 1, f"b{n}").drawn for n in range(2_000)
    )
    assert abs(same / 2_000 - 0.5) < 4 * sqrt(0.25 / 2_000)


@given(by=keys)
def test_names_that_run_together_are_told_apart(by):
    assert by.position("a", "bc") != by.position("ab", "c")
    assert by.position("a,b") != by.position("a", "b")
    assert 0 <= by.position("a") < 1


def test_a_seed_redoes_its_own_draw_and_no_other():
    by = key(3)
    seed = by.seed("actions", "acme")
    assert draw_with_seed(seed)("call") == draw_with_seed(by.seed("actions", "acme"))("call")
    assert draw_with_seed(seed)("call") != draw_with_seed(by.seed("actions", "beta"))("call")
    assert by.secret.hex() not in seed


def test_who_has_the_key_redoes_a_draw_with_a_hash_and_nothing_else():
    secret = bytes(range(32))
    by = LotteryKey(key_id="golden", secret=secret)

    def low(name):
        text = json.dumps(["position", "week 10", name]).encode()
        digest = hmac.new(secret, text, hashlib.sha256).digest()
        return (int.from_bytes(digest[:8], "big") >> 11) / 2**53

    of = ["acme", "beta", "gamma", "delta"]
    assert by.position("week 10", "acme") == low("acme") == 0.148109096867152
    assert pick(by, of, 2).drawn == tuple(sorted(of, key=low)[:2]) == ("acme", "gamma")


def test_the_order_of_the_names_of_a_position_counts():
    assert key(1).position("a", "b") != key(1).position("b", "a")


def test_the_secret_is_shown_nowhere():
    by = LotteryKey(key_id="2026", secret=b"s" * 32)
    assert "ssss" not in repr(by)
    assert "ssss" not in str(pick(by, ["a", "b"], 1).to_dict())


def test_a_short_key_is_refused():
    with pytest.raises(LotteryError, match="has 31 bytes"):
        LotteryKey(key_id="short", secret=b"x" * 31)


@pytest.mark.parametrize("k", [0, 2, 3, -1])
def test_a_draw_in_which_nothing_is_drawn_or_all_are_is_refused(k):
    with pytest.raises(LotteryError, match="somebody has to be drawn and somebody left out"):
        pick(key(1), ["a", "b"], k)


def test_a_name_twice_is_refused():
    with pytest.raises(LotteryError, match="has a name twice"):
        pick(key(1), ["a", "b", "a"], 1)


def test_a_seed_that_is_none_is_refused():
    with pytest.raises(LotteryError, match="which is not hexadecimal"):
        draw_with_seed("the lot")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"closeness": 1.0}, r"closeness of an exploration is 1\.0"),
        ({"closeness": float("nan")}, "closeness of an exploration is nan"),
        ({"whole_up_to_mrr": 0.0}, "Give two amounts above 0"),
        ({"none_above_mrr": 10.0}, r"whole_up_to_mrr = 1000\.0 and ends at none_above_mrr = 10\.0"),
        ({"most_actions": 1}, "is none; give at least 2"),
    ],
)
def test_an_exploration_that_is_none_is_refused(changes, message):
    with pytest.raises(LotteryError, match=message):
        Exploration(**changes)


@given(mrr=st.floats(0, 20_000), more=st.floats(0, 20_000))
def test_the_larger_the_account_the_less_is_left_to_chance(mrr, more):
    plan = Exploration()
    assert plan.closeness_for(mrr + more, {}) <= plan.closeness_for(mrr, {}) <= plan.closeness


@pytest.mark.parametrize(
    ("mrr", "segment"), [(10_000.01, None), (None, None), (float("nan"), None), (100.0, "public")]
)
def test_large_unknown_and_excepted_accounts_take_no_part(mrr, segment):
    assert Exploration(off=("public",)).closeness_for(mrr, {"segment": segment}) == 0
