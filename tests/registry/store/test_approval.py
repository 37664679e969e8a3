from __future__ import annotations

from datetime import UTC, datetime

import pytest

from registry.store.approval import ApprovalError, check_approval
from registry.store.store import PromotionRequest

REQUEST = PromotionRequest(
    version=3, by="Ann Lee", at=datetime(2026, 1, 1, tzinfo=UTC), evidence={}, changes=2
)


def test_another_person_approves_what_was_asked_for():
    assert check_approval(REQUEST, label="churn", version=3, by="Bob Ray") is REQUEST


@pytest.mark.parametrize("name", ["Ann Lee", "ann lee", "  ANN   LEE "])
def test_nobody_approves_what_they_asked_for(name):
    with pytest.raises(ApprovalError, match=r"somebody else .* churn 3 --by NAME --approve"):
        check_approval(REQUEST, label="churn", version=3, by=name)


def test_what_nobody_asked_for_is_not_approved():
    with pytest.raises(ApprovalError, match="Nobody has asked for a promotion of 'churn' version"):
        check_approval(None, label="churn", version=3, by="Bob")


def test_another_version_than_the_one_asked_for_is_not_approved():
    with pytest.raises(ApprovalError, match="Ann Lee asked for version 3 of 'churn', not 4"):
        check_approval(REQUEST, label="churn", version=4, by="Bob")
