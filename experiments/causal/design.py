"""The design of a report: the question, the accounts and the time windows.

A design is written to disk before any outcome is read, and cannot be changed afterwards: a report
takes only designs that were written, and shows when. ::

    wash-out          window        follow-up (horizon)
    ──[────────────)──[────────)────[───────────────────────)──
                      start         followed_from            outcome is read here
                      covariates    in a lottery the start itself,
                      are older     else the end of the window
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from experiments.causal.sample import Estimand
from features.format_version import newer_format
from features.workspace_files import write_atomically

FORMAT = 1
"""The newest version of a written design; one that states none has version 1."""

Mechanism = Literal["lottery", "judgement"]

MECHANISM_WORDS: dict[Mechanism, str] = {
    "lottery": "a lottery decided who received it",
    "judgement": "people decided who received it",
}

CONFOUNDERS: tuple[str, ...] = (
    "health_score",
    "days_to_renewal",
    "mrr",
    "tenure_days",
    "billing_months",
    "cancellations_pending",
    "sessions_28d",
    "use_trend_28d",
    "days_since_sponsor_touch",
    "severe_tickets_90d",
    "incidents_felt_90d",
    "seat_utilisation_28d",
    "active_users_28d",
    "active_days_28d",
    "days_since_activity",
    "feature_uses_28d",
    "features_used_28d",
    "adoption_depth_28d",
    "error_rate_28d",
    "tickets_90d",
    "tickets_open",
    "ticket_sentiment_90d",
    "csat_90d",
    "nps_last",
    "seats",
    "discount_rate",
    "contract_changes_365d",
    "seats_change_90d",
    "invoices_late_90d",
    "invoice_days_overdue",
    "nudges_sent_28d",
    "actions_executed_90d",
    "days_since_action",
)
"""The default covariates: what a CSM considers when choosing accounts, and drivers of churn.

The likeliest to matter come first: a small lottery adjusts for as many as its rows allow.
"""

PLACEBOS: tuple[str, ...] = ("past_revenue", "sessions_28d", "active_users_28d")
"""Measured a horizon before the start, where no effect can be: revenue, and lagged features."""


class DesignError(ValueError):
    """A design that contradicts itself."""


class DesignNotWrittenError(ValueError):
    """A design that was not written before its report was asked for."""


class DesignChangedError(ValueError):
    """A written design whose words or numbers are no longer the same."""


class NewerDesignError(ValueError):
    """A newer Keepwell wrote a design."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """The estimand of a report, declared before the data are read.

    ``smallest_effect`` is the smallest fall in churn (0-1) that would matter; it separates "does
    not work" from "unknown". ``washout_days`` leaves out accounts that received the action shortly
    before. ``window_days`` is how long after a snapshot a person's choice still counts as made on
    it; 0 where the log also holds who was not chosen, so that each decision is a trial.
    ``compare_within`` names an attribute (the CSM): only groups that ever used the action count.
    """

    design_id: str
    question: str
    action: str
    intervention: str
    mechanism: Mechanism
    estimand: Estimand
    horizon_days: int = 90
    window_days: int = 0
    washout_days: int = 0
    smallest_effect: float = 0.01
    covariates: tuple[str, ...] = CONFOUNDERS
    attributes: tuple[str, ...] = ("price_plan", "service_tier")
    segment_by: str = "segment"
    compare_within: str | None = None
    placebos: tuple[str, ...] = PLACEBOS
    cluster_by: str = "account_id"
    unit: str = "account and moment"
    written_at: datetime | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.design_id.replace("-", "").replace("_", "").isalnum():
            raise DesignError(
                f"The design id {self.design_id!r} becomes a file name: letters, digits, - and _."
            )
        if (self.estimand == "ITT") != (self.mechanism == "lottery"):
            raise DesignError(
                f"Design {self.design_id!r} asks for {self.estimand} where "
                f"{MECHANISM_WORDS[self.mechanism]}. A lottery gives ITT, judgement ATT or ATE."
            )
        if self.horizon_days <= 0 or self.window_days < 0 or self.washout_days < 0:
            raise DesignError(
                f"Design {self.design_id!r} has a horizon of {self.horizon_days}, a window of "
                f"{self.window_days} and a wash-out of {self.washout_days} days; the horizon must "
                f"be positive, the others not negative."
            )

    @property
    def digest(self) -> str:
        """Hash of everything but the moment of writing."""
        return hashlib.blake2b(self.text.encode(), digest_size=8).hexdigest()

    @property
    def text(self) -> str:
        """The design as JSON, without the moment of writing."""
        return json.dumps(asdict(replace(self, written_at=None)), sort_keys=True, indent=1)


def write_design(design: Design, folder: Path, *, at: datetime) -> Design:
    """Write the design, once; the same design written before keeps its first moment.

    Raises:
        DesignChangedError: another design has this id.
        NewerDesignError: a newer Keepwell wrote the design of this id.
    """
    path = folder / f"{design.design_id}.json"
    if path.exists():
        written = read_design(path)
        if written.digest != design.digest:
            raise DesignChangedError(
                f"Design {design.design_id!r} was written at {written.written_at} with other "
                f"words or numbers. A design does not change after data were read: give the new "
                f"one an id of its own."
            )
        return written
    written = replace(design, written_at=at)
    content = {
        "format": FORMAT,
        "digest": written.digest,
        **asdict(written),
        "written_at": at.isoformat(),
    }
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    write_atomically(path, text.encode())
    return written


def read_design(path: Path) -> Design:
    """A written design.

    Raises:
        DesignChangedError: the file was edited after it was written.
        NewerDesignError: a newer Keepwell wrote it.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    newer = newer_format(content.get("format"), newest=FORMAT, what=path.name)
    if newer is not None:
        raise NewerDesignError(newer)
    digest = content.pop("digest")
    values: dict[str, Any] = {
        item.name: tuple(content[item.name])
        if isinstance(content[item.name], list)
        else content[item.name]
        for item in fields(Design)
    }
    design = Design(**values | {"written_at": datetime.fromisoformat(content["written_at"])})
    if design.digest != digest:
        raise DesignChangedError(
            f"The design in {path.name} was edited after it was written at {design.written_at}. "
            f"Restore it, or write the new one under an id of its own."
        )
    return design
