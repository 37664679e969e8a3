"""Tables that others made, messy ones too, through the same mapping; their data stay outside.

They are read from the folder ``shared/data`` beside the checkout, and the tests say so when it is
not there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.ingest.run import ingest
from features.lake.lake import Lake
from features.workspace import Workspace

DATA = Path(__file__).parents[4] / "shared" / "data"
NOW = datetime(2025, 6, 1, tzinfo=UTC)

RAVENSTACK = """
name = "ravenstack"
zone = "UTC"

[tables.accounts]
files = ["ravenstack_accounts.csv"]
kind = "account.updated"
account = "account_id"
occurred_at = "signup_date"
recorded_delay = "0s"
ignored = ["account_name", "churn_flag"]  # a name is not needed, and an outcome is never read
[tables.accounts.properties]
industry = "industry"
country = "country"
channel = "referral_source"
price_plan = "plan_tier"

[tables.tickets]
files = ["ravenstack_support_tickets.csv"]
kind = "ticket.created"
account = "account_id"
occurred_at = "submitted_at"
recorded_delay = "end_of_day"
quantity = "priority"
quantity_words = { urgent = 1, high = 2, medium = 3, low = 4 }
[tables.tickets.properties]
ticket_id = "ticket_id"

[tables.resolutions]
files = ["ravenstack_support_tickets.csv"]
kind = "ticket.resolved"
account = "account_id"
occurred_at = "closed_at"
recorded_delay = "0s"
quantity = "resolution_time_hours"
when = "closed_at"
[tables.resolutions.properties]
ticket_id = "ticket_id"

[tables.ratings]
files = ["ravenstack_support_tickets.csv"]
kind = "survey.answered"
account = "account_id"
occurred_at = "closed_at"
recorded_delay = "0s"
quantity = "satisfaction_score"
when = "satisfaction_score"
constants = { survey = "csat", scale = 5 }

[tables.churn]
files = ["ravenstack_churn_events.csv"]
kind = "contract.cancelled"
event_id = "churn_event_id"
account = "account_id"
occurred_at = "churn_date"
recorded_delay = "end_of_day"
[tables.churn.properties]
reason = "reason_code"
"""

SECOND_LEVEL = """
name = "raw"
zone = "UTC"
[tables.use]
files = ["events_raw_5_accounts.csv.gz"]
kind = "feature.used"
account = "account_id"
user = "user"
occurred_at = "ts"
recorded_delay = "0s"
quantity = "value"
[tables.use.properties]
name = "event_type"
"""


def ingest_as(tmp_path, mapping, folder):
    if not (DATA / folder).is_dir():
        pytest.skip(f"The data set {folder} is not in shared/data beside the checkout.")
    (tmp_path / "mapping.toml").write_text(mapping)
    workspace = Workspace(tmp_path / "workspace", environment={})
    summary = ingest(workspace, [DATA / folder], tmp_path / "mapping.toml", now=NOW)
    assert all(file.is_balanced for file in summary.files)
    return summary, Lake(workspace.events_dir).scan().collect()


def test_a_ticket_becomes_what_is_known_when_it_opens_closes_and_is_rated(tmp_path):
    summary, events = ingest_as(tmp_path, RAVENSTACK, "ravenstack")
    kinds = dict(events["kind"].value_counts().iter_rows())
    assert kinds["account.updated"] == 500
    assert kinds["ticket.created"] == kinds["ticket.resolved"] == 2000
    assert kinds["contract.cancelled"] == 600
    ratings = events.filter(kind="survey.answered")["quantity"]
    assert (ratings.null_count(), ratings.min(), ratings.max()) == (0, 3.0, 5.0)
    severity = events.filter(kind="ticket.created")["quantity"]
    assert set(severity) == {1.0, 2.0, 3.0, 4.0}
    assert "ravenstack_feature_usage.csv" in summary.unmapped_files
    assert summary.quarantined == {}


def test_equal_rows_of_the_second_level_sample_are_two_events(tmp_path):
    summary, events = ingest_as(tmp_path, SECOND_LEVEL, "crm")
    assert (summary.read, summary.landed) == (200_945, 200_945)
    assert events["event_id"].n_unique() == 200_945
    assert events.drop("event_id").unique().height == 200_944
