"""What each role may do, and whose accounts it reaches."""

from __future__ import annotations

import pytest

from serving.auth.roles import (
    EMBEDDED,
    PERMISSIONS,
    PERMITTED,
    PROBE_NEED,
    READ,
    ROLES,
    Need,
    RoleError,
    caller_of,
    check_role,
    permissions_named,
)
from serving.scoring.visible_accounts import VisibleAccounts


def test_every_role_reads_and_only_the_admin_may_do_everything():
    assert set(PERMITTED) == set(ROLES)
    assert all("read" in PERMITTED[role] for role in ROLES)
    assert [role for role in ROLES if PERMITTED[role] == set(PERMISSIONS)] == ["admin"]


def test_whoever_approves_does_not_propose_or_carry_out():
    assert PERMITTED["approver"].isdisjoint({"recommend", "report", "claim", "send"})
    assert [role for role in ROLES if "approve" in PERMITTED[role]] == ["approver", "admin"]


@pytest.mark.parametrize(
    ("reach", "attributes", "holds"),
    [
        (VisibleAccounts(csm="ann"), {"csm": "ann", "region": "emea"}, True),
        (VisibleAccounts(csm="ann"), {"csm": "bob", "region": "emea"}, False),
        (VisibleAccounts(csm="ann"), {"csm": None, "region": None}, False),
        (VisibleAccounts(csm="ann"), {}, False),
        (VisibleAccounts(), {"csm": None, "region": None}, False),
        (VisibleAccounts(territories=("emea",)), {"csm": None, "region": "emea"}, True),
        (VisibleAccounts(territories=("emea",)), {"csm": "bob", "region": "emea"}, True),
        (VisibleAccounts(territories=("emea", "apac")), {"csm": "bob", "region": "apac"}, True),
        (VisibleAccounts(territories=("emea",)), {"csm": "bob", "region": "EMEA"}, False),
        (VisibleAccounts(csm="ann", territories=("emea",)), {"csm": "ann", "region": "apac"}, True),
    ],
)
def test_an_account_is_reached_by_its_csm_or_its_region(reach, attributes, holds):
    assert reach.holds(attributes) is holds


@pytest.mark.parametrize(
    ("role", "territories", "reach"),
    [
        ("csm", (), VisibleAccounts(csm="ann")),
        ("csm", ("emea",), VisibleAccounts(csm="ann", territories=("emea",))),
        ("engine", (), None),
        ("engine", ("emea",), VisibleAccounts(territories=("emea",))),
        ("reader", (), None),
        ("admin", (), None),
    ],
)
def test_a_csm_always_has_a_reach_and_others_where_territories_are_listed(role, territories, reach):
    assert caller_of("k", role, owner="ann", territories=territories).reach == reach


@pytest.mark.parametrize(
    ("role", "words", "said"),
    [
        ("king", {}, "There is no role 'king'; there are reader, csm, approver, engine, admin"),
        ("admin", {"territories": ("emea",)}, "An admin reaches every account"),
        ("csm", {"territories": (" ",)}, "A territory is empty"),
        ("reader", {"permissions": frozenset({"send"})}, "of role reader cannot have send"),
        ("reader", {"permissions": frozenset()}, "A key without any permission opens nothing"),
    ],
)
def test_what_a_role_can_not_be_is_said(role, words, said):
    with pytest.raises(RoleError, match=said):
        check_role(role, **words)


def test_a_key_may_have_less_than_its_role():
    caller = caller_of("k", "engine", permissions=frozenset({"send"}))
    assert caller.permissions == {"send"}
    assert "it needs the permission 'read'" in READ.refusal(caller)
    assert Need(permission="send", of="company").refusal(caller) is None


def test_what_is_about_the_company_is_refused_to_a_territory():
    need = Need(permission="watch", of="company")
    assert need.refusal(caller_of("k", "reader")) is None
    assert "only those of its territories" in need.refusal(
        caller_of("k", "reader", territories=("emea",))
    )


def test_a_probe_asks_for_nothing():
    assert PROBE_NEED.refusal(caller_of("k", "csm", owner="ann")) is None


@pytest.mark.parametrize(
    ("owner", "named", "by"),
    [
        ("ann", None, "ann"),
        ("ann", "ann", "ann"),
        ("mailer", "ann", "mailer, for ann"),
    ],
)
def test_the_owner_of_the_key_is_who_did_it(owner, named, by):
    assert caller_of("k", "engine", owner=owner).by(named) == by


def test_without_an_owner_the_record_says_what_the_request_does():
    assert (EMBEDDED.by("csm-17"), EMBEDDED.by(None)) == ("csm-17", None)


def test_permissions_are_known_by_their_names():
    assert permissions_named(["send", "read"]) == {"read", "send"}
    with pytest.raises(RoleError, match="There is no permission 'sing'; there are read, watch"):
        permissions_named(["read", "sing"])
