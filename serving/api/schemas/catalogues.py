"""The shapes of what there is on the wire: the playbook, models, reports."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from serving.api.schemas.wire_model import Answer

EXAMPLE_REPORT = "report"


class ActionsAnswer(Answer):
    """The playbook."""

    items: list[dict[str, Any]]
    sequences: list[dict[str, Any]]


class WithheldSegmentAnswer(Answer):
    """Accounts for which a serving model does not answer: monitoring found against it there."""

    segment: str = Field(description="`everyone`, `segment NAME` or `unknown segment`.")
    since: datetime | None = Field(description="null: the switch cannot be read.")
    why: str


class ModelAnswer(Answer):
    """One version of a model. Metrics carry their interval as `name_low` and `name_high`."""

    label: str
    version: int
    run_name: str
    serving: bool
    challenger: bool
    fingerprint: str
    metrics: dict[str, float]
    judged_on: str = Field(
        description="The rows that `metrics` are of: `later months`, or other accounts where there were "
        "too few months.",
        examples=["later months"],
    )
    card: str = Field(description="The address of its model card, a page.")
    withheld: list[WithheldSegmentAnswer]


class ModelsAnswer(Answer):
    """Every version of every model, and why a label has none that serves."""

    items: list[ModelAnswer]
    refusals: dict[str, str]


class ReportRow(Answer):
    """One report of this workspace."""

    name: str
    title: str
    headline: str | None
    written_at: datetime | None
    html: str | None
    json_url: str


class ReportsAnswer(Answer):
    """The reports, newest first."""

    items: list[ReportRow]
