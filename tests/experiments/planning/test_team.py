"""A team is read from its file as a whole, or refused with what is wrong and where."""

from __future__ import annotations

import pytest

from experiments.planning.team import (
    Budget,
    Care,
    Csm,
    PlanningError,
    Pool,
    Team,
    read_team,
)

WHOLE = """
actions_per_account = 2

[[csm]]
id = "ann"
hours = 30
territories = ["EMEA"]

[[csm]]
id = "ben"
hours = 20.5
skills = ["csm", "sales"]

[[pool]]
id = "onboarding"
hours = 60
skills = ["support"]

[[budget]]
id = "offers"
amount = 5000
channels = ["offer"]

[[care]]
tier = "enterprise"
accounts = 40
"""


def test_a_team_has_all_that_its_file_says() -> None:
    assert read_team(WHOLE) == Team(
        csms=(
            Csm(id="ann", hours=30.0, territories=("EMEA",)),
            Csm(id="ben", hours=20.5, skills=("csm", "sales")),
        ),
        pools=(Pool(id="onboarding", hours=60.0, skills=("support",)),),
        budgets=(Budget(id="offers", amount=5000.0, channels=("offer",)),),
        care=(Care(tier="enterprise", accounts=40),),
        actions_per_account=2,
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hours = 30", "hours = 200", "'ann' has 200 hours this week; give a number from 0 to 168"),
        ("hours = 60", "hours = -1", "'onboarding' has -1 hours"),
        ("hours = 60", "hours = inf", "`hours` is inf, which is no finite number"),
        ('id = "ben"', 'id = "ann"', "CSM or pool 'ann' is listed twice"),
        ('id = "onboarding"', 'id = "ann"', "CSM or pool 'ann' is listed twice"),
        ('["support"]', '["juggling"]', "has the skills juggling; skills are owner roles"),
        ('["support"]', "[]", "has the skills none"),
        ("amount = 5000", "amount = -5", "Budget 'offers' is -5"),
        ('["offer"]', '["pigeon"]', "names the channels pigeon; known are"),
        ("accounts = 40", "accounts = -1", "The care of tier 'enterprise' is -1 accounts"),
        ("actions_per_account = 2", "actions_per_account = 0", "at least one action a week"),
        ("accounts = 40", "accounts = 2.5", "`accounts` is 2.5; give a whole number"),
        ("accounts = 40", "accounts = -inf", "`accounts` is -inf, which is no finite number"),
        ("actions_per_account = 2", "actions_per_account = 1.7", "is 1.7; give a whole number"),
        ("hours = 30", "", "`csm` number 1 lacks `hours`"),
        ("hours = 30", "hours = 30\nhuors = 1", r"unknown key\(s\) huors"),
        ("hours = 30", "hours = ", "not valid TOML"),
    ],
    ids=[
        "long week",
        "negative",
        "infinite",
        "twice",
        "pool twice",
        "no such skill",
        "no skill",
        "negative budget",
        "no such channel",
        "negative care",
        "no action",
        "part of care",
        "endless care",
        "part of an action",
        "no hours",
        "misspelt",
        "no toml",
    ],
)
def test_a_team_that_can_not_be_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(PlanningError, match=message):
        read_team(WHOLE.replace(old, new, 1))


def test_nobody_at_all_is_refused() -> None:
    with pytest.raises(PlanningError, match="no CSM and no pool"):
        read_team("actions_per_account = 1")
