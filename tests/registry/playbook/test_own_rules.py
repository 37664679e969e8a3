"""A company's own actions stand in the playbook like the shipped ones, and under the same checks."""

from __future__ import annotations

import pytest

from registry.playbook.actions import PlaybookError
from registry.playbook.playbook import load_playbook

OWN = """
[[alert]]
id = "quiet"
responses = ["success_call", "ask_why"]

[[action]]
id = "success_call"
hours = 2
prior = { mean = 0.2 }

[[action]]
id = "ask_why"
name = "Ask why"
objective = "retain"
channel = "phone"
owner_role = "csm"
cost_usd = 5
hours = 0.5
cool_down_days = 30
max_autonomy = 2
prior = { outcome = "churn", mean = 0.1 }
text = "Ask why."
"""


def test_what_is_named_is_changed_and_a_new_action_is_brought_up_by_its_sign() -> None:
    shipped, own = load_playbook(), load_playbook(OWN)
    before, now = shipped.by_id["success_call"], own.by_id["success_call"]
    assert (now.hours, now.prior.mean, now.prior.strength) == (2, 0.2, before.prior.strength)
    assert now.triggers[:-1] == before.triggers
    assert now.triggers[-1].text == own.by_id["ask_why"].triggers[0].text == "alert quiet"
    assert own.by_id["ask_why"].prior.grade == "E"
    assert [one for one in own.actions if one.id not in ("success_call", "ask_why")] == [
        one for one in shipped.actions if one.id != "success_call"
    ]
    assert own.fingerprint != shipped.fingerprint


def test_one_text_is_a_list_of_one() -> None:
    own = load_playbook(
        'off = "tips_email"\n' + OWN.replace('["success_call", "ask_why"]', '"ask_why"')
    )
    assert own.off >= {"tips_email"}
    assert [one.text for one in own.by_id["ask_why"].triggers] == ["alert quiet"]


def test_what_is_off_is_brought_up_by_nothing() -> None:
    own = load_playbook('off = ["tips_email", "trial"]')
    assert own.by_id["tips_email"].triggers == own.by_id["tips_email"].due == ()
    assert "trial" not in {one.id for one in own.sequences}
    assert all(step.action != "tips_email" for one in own.sequences for step in one.steps)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('channel = "phone"', 'channel = "offer"\nmax_autonomy = 3'), "Cannot overwrite a value"),
        (("max_autonomy = 2", "max_autonomy = 9"), "max_autonomy"),
        (('owner_role = "csm"', 'owner_role = "ceo"'), ""),
        (
            ('responses = ["success_call", "ask_why"]', 'responses = ["ask_wy"]'),
            "Did you mean 'ask_why'?",
        ),
        (('id = "success_call"', 'id = "ask_why"'), "stands twice"),
        (("cost_usd = 5", "cost = 5"), "ask_why"),
        (('id = "ask_why"', 'id = "Ask why"'), "'Ask why': an id is lower-case words"),
        (('id = "ask_why"\n', ""), "action number 2 has no `id`"),
        (
            ("prior = { mean = 0.2 }", "prior = 3"),
            "action 'success_call': `prior` has to be a table",
        ),
        (('["success_call", "ask_why"]', "[7]"), "`responses` has to be a list of texts, not [7]"),
        (('[[alert]]\nid = "quiet"', '[[sequence]]\nid = "trial"\nsteps = []\n'), "it needs steps"),
        (
            ('[[alert]]\nid = "quiet"', '[[sequence]]\nid = "trial"\nsteps = ["x"]\n'),
            "names an `action`",
        ),
    ],
)
def test_own_actions_are_checked_like_others(change: tuple[str, str], said: str) -> None:
    text = OWN.replace(*change)
    if not said:
        assert load_playbook(text).by_id["ask_why"].owner_role == "ceo"
        text = text.replace("max_autonomy = 2", "max_autonomy = 3")
        said = "need a person's approval"
    with pytest.raises(PlaybookError) as error:
        load_playbook(text)
    assert said in str(error.value)
