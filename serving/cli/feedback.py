"""Show what people said to recommendations, and how it compares with what happened."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from features.cli.options import out
from features.workspace import Workspace
from features.workspace_files import write_atomically
from serving.cli.ledger import open_ledger

if TYPE_CHECKING:
    from serving.recommendations.feedback_evaluation import FeedbackEvaluation, JudgedAdvice


def load_judgements(place: Workspace, as_of: datetime) -> tuple[JudgedAdvice, ...]:
    """What was said up to a moment; whether accounts left is asked of the label."""
    from serving.recommendations.feedback_evaluation import load_judged_advice

    with open_ledger(place, must_exist=True) as ledger:
        return load_judged_advice(ledger.database, as_of=as_of)


def show_judged(
    found: tuple[FeedbackEvaluation, ...], *, as_of: datetime, by_action: bool, file: Path | None
) -> None:
    """Print a table of it, and write it where a file is named."""
    from serving.scoring.score import TIER_HORIZON_DAYS

    if file is not None:
        write_atomically(
            file,
            json.dumps(
                {
                    "as_of": as_of.isoformat(),
                    "horizon_days": TIER_HORIZON_DAYS,
                    "judged": [one.to_dict() for one in found],
                },
                indent=1,
                allow_nan=False,
            ).encode(),
        )
    if not found:
        out.print(
            f"Nobody has said anything to a recommendation up to {as_of:%Y-%m-%d}. On an "
            f"account's page, or by POST /v1/decisions/ID/feedback, people agree, disagree "
            f"or say not now.",
            markup=False,
        )
        return
    shown = Table(
        "said",
        *(["action"] if by_action else []),
        "times",
        "carried out",
        "what followed",
        f"who left, known on {as_of:%Y-%m-%d}",
    )
    for one in found:
        followed = (
            ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in one.results.items())
            or "nothing known"
        )
        shown.add_row(
            one.verdict,
            *([str(one.action)] if by_action else []),
            f"{one.said:,}",
            f"{one.carried_out:,}",
            followed,
            one.words,
        )
    out.print(shown)
