from __future__ import annotations

import re
from dataclasses import replace

from registry.outcomes import CHURN
from serving.pages.views.reasons_view import renewal_reasons_view
from serving.scoring.explanations import Evidence, Reason, Reasons

ADOPTION = Reason(
    feature="seats_used_share_28d", theme="adoption", title="Adoption", text="Half of the seats",
    comparison=None, value=0.5, unit="ratio", points=6.0, points_unit="percentage points",
)  # fmt: skip


def said(reasons: Reasons) -> str:
    view = renewal_reasons_view(reasons, 0.24, CHURN, of="a")
    return re.sub("<[^>]+>", "", str(view.summary))


def test_the_reasons_of_a_renewal_start_at_a_contract_like_it() -> None:
    text = said(Reasons(signals=(ADOPTION,), start=17.0, rest=1.0, others=2))
    assert text.startswith("With a contract like this, an account that is average in everything")
    assert "a chance of 17%. What is listed here moves this one by +6.0 points, to 24%" in text


def test_where_nothing_is_listed_nothing_is_said_to_move() -> None:
    text = said(Reasons(start=17.0, rest=7.0, others=9))
    assert text.endswith("leaves at its renewal with a chance of 17%, and this one with 24%.")


def lines_of(points: float, *facts: float) -> list[tuple[str, str]]:
    evidence = tuple(
        Evidence(feature=f"f{i}", text=f"Fact {i}", comparison=None, value=1.0, unit="", points=one)
        for i, one in enumerate(facts)
    )
    reason = replace(ADOPTION, points=points, evidence=evidence)
    view = renewal_reasons_view(
        Reasons(signals=(reason,), start=17.0, rest=0.0), 0.24, CHURN, of="a"
    )
    return [(fact.text, fact.points) for fact in view.lists[0].lines[0].facts]


def test_facts_that_are_not_listed_are_summed_up_under_their_theme() -> None:
    assert lines_of(6.0, 1.5, 0.5)[2:] == [("Its other facts together", "+4.0 points")]
    assert len(lines_of(6.0, 5.0, 0.7)) == 2  # nearly all of it is listed
    assert len(lines_of(6.0)) == 0
