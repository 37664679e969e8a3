"""A company's own warning signs: what is named is changed, what is wrong is said with its line."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from features.alerts.alert import Reading, raise_alerts
from features.alerts.rule_set import SHIPPED, RulesError, read_alert_rules
from features.alerts.rules import ALERTS, Bound
from features.catalogue.catalogue import FEATURES
from features.health.formula import FORMULAS
from features.health.score import score_health

NAMES = frozenset(one.name for one in FEATURES)
AS_OF = datetime(2026, 3, 9, tzinfo=UTC)
NEW = """
[[alert]]
id = "quiet"
title = "Quiet"
urgency = 3
responses = ["success_call"]

[[alert.cases]]
when = ["days_since_login > 9", "tenure_days >= 90"]
words = "no login for {days_since_login:.0f} days"
"""


def reading(**features: float) -> Reading:
    health = score_health(FORMULAS["balanced"], {})
    return Reading(as_of=AS_OF, health=health, features=features)


def test_without_a_file_the_shipped_rules_hold() -> None:
    assert read_alert_rules("", features=NAMES) is SHIPPED
    assert SHIPPED.rules is ALERTS


def test_what_is_named_is_changed_and_the_rest_stays() -> None:
    found = read_alert_rules(
        'off = ["usage_halved"]\n[[alert]]\nid = "health_below_60"\nurgency = 2\n', features=NAMES
    )
    before = {rule.id: rule for rule in ALERTS}
    now = {rule.id: rule for rule in found.rules}
    assert set(now) == set(before) - {"usage_halved"}
    assert now.pop("health_below_60") == replace(before["health_below_60"], urgency=2)
    assert all(now[name] == before[name] for name in now)
    assert found.digest
    assert set(found.words) == set(before)


def test_a_new_sign_is_raised_with_its_words() -> None:
    rules = read_alert_rules(NEW, features=NAMES)
    assert rules.rules[-1].cases[0].bounds[0] == Bound("days_since_login", ">", 9)
    raised = raise_alerts(reading(days_since_login=12, tenure_days=200), None, rules)
    assert [one.words for one in raised if one.id == "quiet"] == ["no login for 12 days"]
    for low in ({"days_since_login": 9.0, "tenure_days": 200.0}, {"days_since_login": 12.0}):
        assert "quiet" not in {one.id for one in raise_alerts(reading(**low), None, rules)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("days_since_login > 9", "days_since_logn > 9"), "Did you mean 'days_since_login'?"),
        (("> 9", "about 9"), "is no comparison of a figure with a number"),
        (("urgency = 3", "urgency = 6"), "`urgency` is 5 (at once)"),
        (("title =", "titel ="), "has unknown key(s) titel. Did you mean title?"),
        (("{days_since_login:.0f}", "{days_since_login:.0q}"), "cannot be filled in"),
        (("{days_since_login:.0f}", "{seats:.0f}"), "which `when` does not compare"),
        (('title = "Quiet"\n', ""), "lacks `title`"),
        (("{days_since_login:.0f}", "{days_since_login!r:>99}"), "cannot be filled in"),
        (("{days_since_login:.0f}", "{days_since_login:>999999}"), "cannot be filled in"),
        (("{days_since_login:.0f}", "{days_since_login"), "cannot be filled in"),
        (('["days_since_login > 9", "tenure_days >= 90"]', "[]"), "compares nothing"),
        (('id = "quiet"', 'id = "Quiet one"'), "an id is lower-case words"),
    ],
)
def test_what_is_wrong_is_said_with_the_line(change: tuple[str, str], said: str) -> None:
    text = '[[alert]]\nid = "health_below_60"\nurgency = 2\n' + NEW.replace(*change)
    assert text != NEW
    with pytest.raises(RulesError) as error:
        read_alert_rules(text, features=NAMES)
    assert said in str(error.value)
    assert "line 5" in str(error.value)


@pytest.mark.parametrize(
    "silent", ['silent_while = ["quiet"]', 'silent_while = ["calm"]'], ids=["itself", "by_another"]
)
def test_no_sign_keeps_itself_silent(silent: str) -> None:
    other = NEW.replace('"quiet"', '"calm"').replace("urgency", 'silent_while = "quiet"\nurgency')
    text = NEW.replace("urgency = 3", f"urgency = 3\n{silent}") + other
    with pytest.raises(RulesError, match="is silent, so none of them is ever seen"):
        read_alert_rules(text, features=NAMES)
    read_alert_rules(NEW + other, features=NAMES)


def test_a_file_that_is_no_toml_names_its_line() -> None:
    with pytest.raises(RulesError, match="line 2"):
        read_alert_rules("off = [\n]]", features=NAMES)
