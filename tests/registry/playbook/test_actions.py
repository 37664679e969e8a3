"""The playbook's data are whole, and data with a mistake are refused with the place of it."""

from __future__ import annotations

import re

import pytest

from registry.playbook.actions import PlaybookError, Prior
from registry.playbook.playbook import ACTIONS_FILE, SEQUENCES_FILE, load_playbook, read_playbook

ACTIONS = """
contact_channels = ["email"]
[alert_shows]
[assumed]
basis = "ours"
churn_health_unknown = 0.1
stays_away = 0.9
trial_conversion = 0.1
trial_mrr_usd = 19
churn_by_health = [{ from = 0, probability = 0.1 }, { from = 60, probability = 0.05 }]
[assumed.churn_at_least]
[assumed.growth_by_plan]
[assumed.growth_otherwise]
probability = 0.1
amount_ratio = 0.5
[[stage]]
name = "adoption"
conditions = ["days_to_first_use >= 0"]
[[guard]]
objectives = ["expand"]
condition = "tickets_open == 0"
why = "A ticket is open."
[[family]]
id = "offers"
name = "offers"
order = "value"
apart_days = 7
[[action]]
id = "call"
name = "Call"
objective = "retain"
channel = "phone"
owner_role = "csm"
triggers = ["health_score < 40"]
cost_usd = 0
hours = 1.0
cool_down_days = 30
max_autonomy = 1
reversible = true
text = "Call them."
source = "plans#high-risk-protocol"
ours = ["cost_usd", "hours", "cool_down_days", "max_autonomy", "prior"]
[action.prior]
outcome = "churn"
mean = 0.1
strength = 20
grade = "E"
basis = "A guess."
"""
SEQUENCES = """
[[sequence]]
id = "rescue"
name = "Rescue"
applies = ["health_score < 43"]
day_zero = ["alert health_below_40", "entry"]
window_days = 30
source = "plans#high-risk-protocol"
ours = ["window_days"]
steps = [{ action = "call", after_hours = 0 }, { action = "call", after_hours = 24 }]
"""


def test_the_small_playbook_of_these_tests_is_read():
    book = read_playbook(ACTIONS, SEQUENCES)
    assert [action.id for action in book.actions] == ["call"]
    assert book.assumptions.churn_by_health == ((60.0, 0.05), (0.0, 0.1))
    assert book.rows()[0]["sequences"] == ["rescue"]


def changed(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id = "call"', 'id = "Call me"', "lower-case words joined"),
        ('id = "call"\n', "", "lacks `id`"),
        ('name = "Call"', 'name = ""', "`name` has to be text"),
        ('channel = "phone"', 'channel = "pigeon"', "`channel` is 'pigeon'; allowed are email"),
        ("cost_usd = 0", 'cost_usd = "0"', "'call': `cost_usd` has to be a number"),
        ("cost_usd = 0", "cost_usd = -1", "`cost_usd` is -1; it has to be at least 0"),
        ("cost_usd = 0", "cost_usd = nan", "`cost_usd` is nan"),
        ("hours = 1.0", "hours = true", "`hours` has to be a number, not True"),
        ("max_autonomy = 1", "max_autonomy = 5", "at least 1 and at most 4"),
        ("reversible = true", 'reversible = "yes"', "has to be true or false"),
        ("reversible = true", "reversible = true\nurgency = 3", r"unknown key\(s\) urgency"),
        ('triggers = ["health_score < 40"]', 'triggers = "health_score < 40"', "list of texts"),
        ('triggers = ["health_score < 40"]', 'triggers = ["low health"]', "'call': The condition"),
        ('source = "plans#high-risk-protocol"', 'source = "our idea"', "document and heading"),
        ('"max_autonomy", "prior"]', '"max_autonomy"]', "no source states prior"),
        ('"max_autonomy", "prior"]', '"max_autonomy", "prior", "luck"]', "`ours` names luck"),
        ("strength = 20\n", "", "`prior` lacks `strength`"),
        ("strength = 20\n", "strength = 0\n", "`strength` is 0; it has to be at least 1"),
        ("cost_usd = 0", "cost_usd = 0\naddresses = 'The Boss'", "`addresses` is 'The Boss'"),
        ("mean = 0.1\n", "mean = 1.5\n", "`mean` is 1.5; it has to be at least -1 and at most 1"),
        ('outcome = "churn"', 'outcome = "none"', "needs a `worth_usd`"),
        ('channel = "phone"', 'channel = "offer"\nfamily = "gifts"', "there is no family 'gifts'"),
        ('objectives = ["expand"]', 'objectives = ["sell"]', "'sell' in `objectives`"),
        ("[action.prior]\n", 'prior = "large"\n[action.more]\n', "has to be a table"),
        ('[[family]]\nid = "offers"', 'x = 1\n[[family]]\nid = "offers"', r"unknown key\(s\) x"),
        ("contact_channels =", "contact_channels", "not valid TOML"),
        ("[[stage]]\n", "[stage]\n", "has to be a list of tables"),
    ],
)
def test_a_mistake_in_the_actions_is_refused(old, new, message):
    with pytest.raises(PlaybookError, match=message):
        read_playbook(changed(ACTIONS, old, new), SEQUENCES)


def test_two_actions_with_one_id_are_refused():
    action = ACTIONS[ACTIONS.index("[[action]]") :]
    with pytest.raises(PlaybookError, match=r"id\(s\) call are used twice"):
        read_playbook(ACTIONS + action, SEQUENCES)


def test_an_offer_needs_approval():
    offer = changed(ACTIONS, 'channel = "phone"', 'channel = "offer"')
    with pytest.raises(PlaybookError, match="need a person's approval"):
        read_playbook(changed(offer, "max_autonomy = 1", "max_autonomy = 3"), SEQUENCES)


def test_an_action_that_nothing_brings_up_is_refused():
    silent = changed(ACTIONS, 'triggers = ["health_score < 40"]\n', "")
    read_playbook(silent, SEQUENCES)  # a step of a sequence
    with pytest.raises(PlaybookError, match="nothing would ever bring it up"):
        read_playbook(silent, "sequence = []")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id = "rescue"', 'id = "call"', r"id\(s\) call are used twice"),
        (
            'action = "call", after_hours = 0',
            'action = "sing", after_hours = 0',
            "names the action",
        ),
        ("after_hours = 0", "after_hours = 48", "in order of `after_hours`"),
        ("steps = [{", "steps = []\nmore = [{", "unknown key|in order"),
        ('day_zero = ["alert health_below_40", "entry"]', "day_zero = []", "say under `day_zero`"),
        ('"entry"]', '"some day"]', "is no start of a clock"),
        ('"entry"]', '"entry now"]', "is no start of a clock"),
        ('"entry"]', '"moment birthday"]', "the moment 'birthday' is not one of trial_started"),
        (
            'applies = ["health_score < 43"]',
            'applies = ["done sing within 3d"]',
            "names the action",
        ),
    ],
)
def test_a_mistake_in_the_sequences_is_refused(old, new, message):
    with pytest.raises(PlaybookError, match=message):
        read_playbook(ACTIONS, changed(SEQUENCES, old, new))


def test_the_playbook_has_all_that_was_collected():
    book = load_playbook()
    assert len(book.actions) >= 100
    assert len(book.sequences) == 11
    assert {action.objective for action in book.actions} == {
        "retain",
        "expand",
        "adopt",
        "advocate",
        "recover",
        "onboard",
    }


def test_the_playbook_is_read_once():
    assert load_playbook() is load_playbook()


def test_assumptions_start_at_zero_and_fall_with_health():
    bands = load_playbook().assumptions.churn_by_health
    assert bands[-1][0] == 0
    assert [p for _, p in bands] == sorted(p for _, p in bands)


def test_incentives_at_the_limit_are_one_family_with_the_cheapest_first():
    book = load_playbook()
    members = {a.id for a in book.actions if a.family == "limit_incentive"}
    assert {"next_plan_preview", "first_month_half", "integration_upgrade"} <= members
    assert book.families["limit_incentive"].order == "cheapest"
    assert all(book.by_id[a].max_autonomy <= 2 for a in ("first_month_half", "integration_upgrade"))


def test_texts_are_not_repeated():
    texts = [action.text for action in load_playbook().actions]
    assert len(texts) == len(set(texts))


def test_the_files_say_that_their_numbers_are_ours():
    assert "`ours`" in ACTIONS_FILE.read_text(encoding="utf-8").split("[alert_shows]")[0]
    assert "`ours`" in SEQUENCES_FILE.read_text(encoding="utf-8").split("[[sequence]]")[0]
    assert not re.search(r"[^\S\n]+$", ACTIONS_FILE.read_text(encoding="utf-8"), re.MULTILINE)


def test_a_firmer_prior_has_a_smaller_deviation():
    weak, firm = (
        Prior(outcome="churn", mean=0.1, strength=n, grade="E", basis="A guess.") for n in (10, 100)
    )
    assert 0 < firm.deviation < weak.deviation
