"""The price list: what it says, and what it refuses."""

from __future__ import annotations

import json

import pytest

from registry.playbook.prices import (
    NO_PRICES,
    Price,
    PriceList,
    PricesError,
    parse_prices,
    prices_toml,
    read_prices,
)

TEXT = """
[[plan]]
name = "Starter"
per_seat = 19
next = "professional"

[[plan]]
name = "professional"
month = 40
per_seat = 49

[[addon]]
name = "addon_sso"
month = 50
"""
PRICES = parse_prices(TEXT)


@pytest.mark.parametrize(
    ("what", "plan", "seats", "price"),
    [
        ("next_plan", "starter", 10.0, 40 + 490 - 190),
        ("next_plan", "STARTER", 10.0, 340),
        ("next_plan", "starter", None, None),
        ("next_plan", "professional", 10.0, None),
        ("next_plan", "gold", 10.0, None),
        ("next_plan", None, 10.0, None),
        ("this_plan", "starter", 2.0, 38),
        ("addon_sso", None, None, 50),
        ("addon_model", "starter", 10.0, None),
    ],
)
def test_a_price_is_that_of_the_list_or_not_known(what, plan, seats, price):
    assert PRICES.price_of(what, plan, seats) == price


def test_a_smaller_next_plan_brings_nothing_and_never_less():
    prices = PriceList(plans={"big": Price(month=90, next="small"), "small": Price(month=10)})
    assert prices.price_of("next_plan", "big", None) == 0


def test_only_a_plan_of_the_list_is_the_highest():
    assert [PRICES.is_highest(plan) for plan in ("professional", "starter", "gold", None)] == [
        True, False, False, False,
    ]  # fmt: skip


def test_it_is_stored_and_written_as_it_is_read(tmp_path):
    assert PriceList.from_dict(json.loads(json.dumps(PRICES.to_dict()))) == PRICES
    assert parse_prices(prices_toml(PRICES, heading="Ours.")) == PRICES
    (tmp_path / "prices.toml").write_text(TEXT, encoding="utf-8")
    assert read_prices(tmp_path) == PRICES
    assert read_prices(tmp_path / "nowhere") is NO_PRICES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plan = 3", "plan"),
        ("[[plan]\n", "not valid TOML"),
        ('[[plan]]\nname = "a"\nprice = 3', r"unknown key\(s\) price"),
        ('[[plan]]\nname = "a"\nmonth = -1', "month"),
        ('[[plan]]\nname = "a"\n[[plan]]\nname = "A"', "has two prices"),
        ('[[plan]]\nname = "a"\nnext = "b"', "names 'b' as the next one, which has no entry"),
        ('[[addon]]\nname = "a"\nnext = "b"', r"unknown key\(s\) next"),
    ],
)
def test_what_is_no_price_list_is_refused_with_the_place(text, message):
    with pytest.raises(PricesError, match=message):
        parse_prices(text)
