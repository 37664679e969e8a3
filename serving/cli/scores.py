"""The command that scores every account into a file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from features.cli.commands import Engine, Master, OnEngine, take_snapshots, take_snapshots_on_spark
from features.cli.options import (
    DEFAULT_WORKSPACE,
    AsOf,
    InWorkspace,
    moment_of,
    out,
    plural,
    show_progress,
)
from features.workspace import Workspace
from features.workspace_files import write_atomically
from serving.cli.models import store_of

if TYPE_CHECKING:
    from serving.scoring.scores_file.scores_file import ScoresWritten

LOOKED_BACK_AT = (timedelta(days=28), timedelta(days=7), timedelta(0))
"""A score is shown beside those of a week ago (alerts) and of four weeks ago (the trend)."""

SCORED: Mapping[str, str] = {
    "model": "by a model",
    "health_formula": "by the health formula",
    "none": "without a score",
}
"""How the accounts of each source of scores are counted in words."""


def score(
    file: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")],
    as_of: AsOf = None,
    engine: OnEngine = Engine.LOCAL,
    master: Master = "local[*]",
    shadow: Annotated[
        bool,
        typer.Option(
            "--shadow",
            help="Score with the challengers too, and keep both probabilities in the "
            "workspace; the file is the same.",
        ),
    ] = False,
    reasons: Annotated[
        int, typer.Option(min=0, max=5, help="How many reasons an account; 0 is fastest.")
    ] = 5,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Score every account as of a moment, with reasons, into a Parquet file."""
    place = Workspace(workspace)
    moment = moment_of(place, as_of)
    with show_progress("Scoring"):
        written = (
            _scores(place, moment, file, reasons)
            if engine is Engine.LOCAL
            else _scores_on_spark(place, moment, master, file, reasons)
        )
    sources = ", ".join(f"{n:,} {SCORED[source]}" for source, n in _most_first(written.by_source))
    out.print(
        f"{plural(written.accounts, 'account')} as of {moment:%Y-%m-%d} ({sources}) in {file}."
    )
    for reason, accounts in _most_first(written.by_reason):
        out.print(
            f"Not by a model, {plural(accounts, 'account')}: {reason}",
            highlight=False,
            markup=False,
        )
    if as_of is not None:
        say_learned_later(place, moment, with_effects=False)
    if shadow:
        from serving.scoring.shadow import shadow as score_in_shadow

        for line in score_in_shadow(place, store_of(place), moment):
            out.print(line, highlight=False, markup=False)


def say_learned_later(place: Workspace, moment: datetime, *, with_effects: bool = True) -> None:
    """Print what an answer as of a past moment uses that was learned after it."""
    from serving.recommendations.learned_later import learned_later

    for line in learned_later(place, store_of(place), moment, with_effects=with_effects):
        out.print(line, highlight=False, markup=False)


def ensure_snapshots(place: Workspace, moment: datetime) -> None:
    """Make the snapshots that a score as of the moment needs, where the newest data has none."""
    from features.compute.backfill import find_stale_moments
    from features.compute.snapshot_store import SnapshotError

    missing = find_stale_moments(place, (moment - back for back in LOOKED_BACK_AT))
    if moment in missing:
        take_snapshots(place, (moment,))
    for earlier in missing:
        if earlier != moment:
            try:
                take_snapshots(place, (earlier,))
            except SnapshotError:
                continue  # nothing was known so early: the trend is unknown, and says so


def _scores(place: Workspace, moment: datetime, file: Path, reasons: int) -> ScoresWritten:
    from serving.scoring.scores_file.scores_file import write_scores

    ensure_snapshots(place, moment)
    return write_scores(place, store_of(place), moment, file, most_reasons=reasons)


def _scores_on_spark(
    place: Workspace, moment: datetime, master: str, file: Path, reasons: int
) -> ScoresWritten:
    from features.compute.backfill import find_stale_moments
    from features.compute.spark import spark_session
    from serving.scoring.scores_file.scores_file import ScoresWritten
    from serving.scoring.scores_file.spark import scores_on_spark

    if find_stale_moments(place, (moment,)):
        take_snapshots_on_spark(place, (moment,), master)
    with spark_session(master) as session:
        frame = scores_on_spark(session, place, store_of(place), moment, most_reasons=reasons)
    content = io.BytesIO()
    frame.write_parquet(content)
    write_atomically(file, content.getvalue())
    return ScoresWritten.of(frame)


def _most_first(counted: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
