"""Each label goes by the end of the tables that decide it, and no cutoff comes before the first use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from features.compute.snapshot_store import SnapshotStore
from features.ingest.run import ingest
from features.lake.lake import Lake
from features.workspace import Workspace
from training.dataset.data_span import cutoffs_with_use, known_until
from training.dataset.labels import label_in

USE_END, CONTRACT_END = datetime(2025, 7, 15, tzinfo=UTC), datetime(2025, 8, 14, tzinfo=UTC)
DAY = timedelta(days=1)
MAPPING = """
name = "one"
zone = "UTC"
complete_until = 2025-07-15T00:00:00

[tables.use]
files = ["use.csv"]
account = "who"
kind = "user.session"
occurred_at = "at"
recorded_delay = "0s"

[tables.contracts]
files = ["contracts.csv"]
type = "contract_periods"
account = "who"
start = "since"
cancelled = "left"
mrr = "one"
complete_until = 2025-08-14T00:00:00
[tables.contracts.computed]
one = "1"
"""


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    (tmp_path / "use.csv").write_text("who,at\na,2025-07-02 09:00\nb,2025-07-10 09:00\n")
    (tmp_path / "contracts.csv").write_text(
        "who,since,left\na,2025-01-01,2025-07-30\nb,2025-01-01,\n"
    )
    (tmp_path / "mapping.toml").write_text(MAPPING)
    found = Workspace(tmp_path / "w", environment={})
    ingest(found, [tmp_path], tmp_path / "mapping.toml", now=datetime(2025, 9, 1, tzinfo=UTC))
    return found


def test_labels_go_by_their_own_tables_and_the_features_by_all(place: Workspace) -> None:
    assert place.settings.complete_until == USE_END
    churn, silence = label_in(place.settings, "churn"), label_in(place.settings, "silent_churn")
    assert known_until(place, churn, None) == CONTRACT_END
    assert known_until(place, silence, None) == USE_END
    assert known_until(place, churn, USE_END - DAY) == USE_END - DAY
    assert known_until(place, churn, CONTRACT_END + DAY) == CONTRACT_END


def test_an_end_that_somebody_stated_holds_for_all(place: Workspace) -> None:
    place.change_settings(complete_until=USE_END - DAY)
    assert known_until(place, label_in(place.settings, "churn"), None) == USE_END - DAY


def test_a_source_of_unknown_kinds_counts_for_each(place: Workspace) -> None:
    manifest = Lake(place.events_dir).manifest
    assert manifest.complete_until_for(["contract.started"]) == CONTRACT_END
    assert manifest.complete_until_for(["ticket.created"]) == USE_END
    old = manifest.__class__(**{**vars(manifest), "kinds": {}})
    assert old.complete_until_for(["contract.started"]) == USE_END


def test_a_cutoff_before_the_first_use_teaches_nothing(place: Workspace) -> None:
    snapshots = SnapshotStore(place.snapshots_dir)
    snapshots.folder.mkdir(parents=True)
    moments = [datetime(2025, month, day, tzinfo=UTC) for month, day in ((6, 17), (7, 2), (7, 15))]
    for moment in moments:
        snapshots.path(moment).touch()
    assert cutoffs_with_use(place) == tuple(moments[2:])
    for moment in moments[2:]:
        snapshots.path(moment).unlink()
    assert cutoffs_with_use(place) == tuple(moments[:2])
