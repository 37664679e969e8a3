"""Alerts are found when asked for, once; an account scored anew loses its older ones."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from features.alerts.alert import Alert
from features.compute.snapshot_store import SnapshotStore
from serving.scoring.alerts import HeldWeek, WarningSigns

ALERT = Alert(
    id="a",
    title="A",
    words="it is so",
    urgency=3,
    responses=(),
    source="s",
    as_of=datetime(2026, 3, 1, tzinfo=UTC),
)


class Found:
    """Says what it was made with, and counts how often it was asked."""

    def __init__(self, *alerts: Alert) -> None:
        self.alerts, self.asked = alerts, 0

    def __call__(self) -> tuple[Alert, ...]:
        self.asked += 1
        return self.alerts


def test_alerts_are_found_once_and_only_of_the_account_that_is_asked_for():
    one, other = Found(ALERT), Found(ALERT)
    signs = WarningSigns({"one": one, "other": other})
    assert signs["one"] == signs["one"] == (ALERT,)
    assert (one.asked, other.asked) == (1, 0)


def test_an_account_without_alerts_is_as_one_that_is_not_there():
    signs = WarningSigns({"quiet": Found(), "loud": Found(ALERT)})
    assert dict(signs) == {"loud": (ALERT,)}
    assert len(signs) == 1
    assert signs.get("quiet", ()) == signs.get("nobody", ()) == ()
    assert "loud" in signs
    assert "quiet" not in signs
    with pytest.raises(KeyError, match="quiet"):
        signs["quiet"]


def test_an_error_of_a_rule_is_not_taken_for_silence():
    def broken() -> tuple[Alert, ...]:
        return {}["figure"]  # type: ignore[no-any-return]

    with pytest.raises(KeyError, match="figure"):
        WarningSigns({"one": broken}).of("one")


def test_an_account_scored_anew_has_its_newer_alerts_or_none():
    kept, left, changed, newer = Found(ALERT), Found(ALERT), Found(ALERT), Found()
    signs = WarningSigns({"kept": kept, "left": left, "changed": changed})
    assert len(signs) == 3
    after = signs.with_newer({"left", "changed"}, WarningSigns({"changed": newer}))
    assert dict(after) == {"kept": (ALERT,)}
    assert (kept.asked, newer.asked) == (1, 1)
    assert len(signs) == 3


def test_accounts_that_are_scored_anew_share_one_snapshot_of_the_week_before(own_client):
    """A part of it for each account grew to gigabytes in a service that many events reach."""
    service = own_client.app.state.service
    snapshots = SnapshotStore(service.workspace.snapshots_dir)
    moment = snapshots.moments()[-1]
    asked = snapshots, moment, service.catalogue
    held = HeldWeek()
    week = held.read(*asked, service.formula)
    assert held.read(*asked, service.formula) is week
    reading = week.reading("acct-05")
    assert reading is not None
    assert (reading.as_of, reading.features["errors_28d"]) == (
        moment,
        service.portfolio.account("acct-05").features["errors_28d"],
    )
    assert week.reading("nobody") is None
    assert held.read(*asked, replace(service.formula, title="another")) is not week
    week = held.read(*asked, service.formula)
    later = (moment + timedelta(days=1)).timestamp()
    os.utime(snapshots.existing_path(moment), (later, later))
    assert held.read(*asked, service.formula) is not week
