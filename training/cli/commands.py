"""The commands of this package: train, back-test, audit and monitor."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from features.cli.options import (
    DEFAULT_WORKSPACE,
    FOUND,
    AnyWorkspace,
    AsOf,
    CommandError,
    InWorkspace,
    models_address,
    moment_of,
    out,
    plural,
    require_workspace,
    show_progress,
    start_of_day,
    steady_clock,
)
from features.workspace import Workspace
from features.workspace_files import write_atomically
from registry.outcomes import CHURN, OutcomeName
from registry.store.open_store import pending_uploads_in, store_at

RENEWAL = "renewal"
"""What is back-tested besides outcomes: the chance to leave at the end of the term."""

if TYPE_CHECKING:
    from registry.promotion.promotion import EvidenceDocument
    from registry.store.mlflow import MlflowModelStore
    from training.backtest.report import ReportTable
    from training.models.binned_rows import MakeGrower
    from training.pipeline.training_result import TrainingResult


def train(
    label: Annotated[OutcomeName, typer.Argument(help="What to predict.")],
    horizon: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Predict within so many days, and not within the horizons of the workspace; give it "
            "again for another.",
        ),
    ] = None,
    as_of: AsOf = None,
    trials: Annotated[int, typer.Option(min=0, help="Trials of the tuning study.")] = 12,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Start no trial after so many seconds. Without it only trials are counted, and the "
            "same data and seed give the same model.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same data and seed, same model.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Grow the trees on the Dask cluster of the scheduler at this address (the extra "
            "keepwell\\[dask]); the study's on this machine."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Grow the trees on so many worker processes of this machine."),
    ] = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Train, judge on later months, and register; the best candidate becomes the challenger.

    With too few cutoffs for that, other accounts of the same months judge, and the summary says so.

    LightGBM, a logistic regression, the refined health formula and, for churn, the renewal model run
    against the base rate, the health formula and last month's usage, on rows later than all they
    were fitted on. Where few accounts have left only the refined health formula or the renewal
    model may serve. `keepwell models promote` makes the version serve.
    """
    if cluster is not None and workers is not None:
        raise CommandError(
            "Give --cluster ADDRESS for a cluster that runs, or --workers N for "
            "workers of this machine."
        )
    with _grown_elsewhere(cluster, workers) as growing:
        (result,) = train_models(
            Workspace(workspace),
            (label.value,),
            as_of,
            trials,
            seed,
            seconds=seconds,
            growing=growing,
            horizons=tuple(sorted(set(horizon))) if horizon else None,
        )
    out.print(result.summary, highlight=False, markup=False)
    if result.promotion.approved and result.version is not None:
        out.print(
            f"To let it serve: keepwell models promote {label.value} {result.version} "
            f'--by "YOUR NAME"',
            highlight=False,
        )


def backtest(
    label: Annotated[
        str,
        typer.Argument(
            help="Which outcome; or renewal, the chance to leave at the end of the term."
        ),
    ] = CHURN.name,
    origins: Annotated[
        int, typer.Option(help="At most so many cutoffs at which everything is fitted anew.")
    ] = 6,
    capacity: Annotated[
        int, typer.Option(help="How many accounts the team can act on at every cutoff.")
    ] = 20,
    as_json: Annotated[Path | None, typer.Option("--out", help="A JSON file to write.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same data and seed, same numbers.")] = 1,
    as_of: AsOf = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Judge every contender at many origins, each on what was known then; stores no model.

    Later rows judge, with an embargo; every row once. Numbers come with 95 % intervals over
    accounts, beside the base rate, the health formula, last month's usage and the logistic
    regression, by horizon, segment, service tier and tenure.

    Of renewal: by the days to it, left over promised by count and by revenue, how early those who
    left were at risk, and how many came as a surprise.
    """
    place = Workspace(workspace)
    moment = None if as_of is None else start_of_day(as_of)

    from training.backtest.report import as_json as report_as_json
    from training.backtest.report import remarks, renewal_table, report_tables
    from training.backtest.workspace import backtest_workspace, backtest_workspace_renewals

    known = (*(one.value for one in OutcomeName), RENEWAL)
    if label not in known:
        raise CommandError(f"There is no label {label!r}. Choose one of: {', '.join(known)}.")
    if label == RENEWAL:
        with show_progress("Back-testing renewals") as progress:
            renewals = backtest_workspace_renewals(
                place, as_of=moment, n_origins=origins, seed=seed, progress=progress
            )
        if as_json is not None:
            document = json.dumps(asdict(renewals), indent=1, default=str)
            write_atomically(as_json, document.encode())
        _print_sheet(renewal_table(renewals))
        out.print(renewals.summary, highlight=False, markup=False)
        return
    with show_progress(f"Back-testing {label}") as progress:
        result = backtest_workspace(
            place,
            label,
            as_of=moment,
            n_origins=origins,
            capacity=capacity,
            seed=seed,
            progress=progress,
        )
    if as_json is not None:
        write_atomically(as_json, json.dumps(report_as_json(result), indent=1).encode())
    for sheet in report_tables(result):
        _print_sheet(sheet)
    for line in (*remarks(result), result.summary):
        out.print(line, highlight=False, markup=False)


def _print_sheet(sheet: ReportTable) -> None:
    out.print(f"\n{sheet.title}", highlight=False, markup=False)
    if sheet.rows:
        table = Table(*sheet.columns)
        for row in sheet.rows:
            table.add_row(*row)
        out.print(table)


def audit(
    what: Annotated[
        str,
        typer.Argument(
            help="What the workspace's own training set predicts; or a Parquet file with account_id, "
            "as_of, features, label and maybe split."
        ),
    ] = CHURN.name,
    label: Annotated[
        str | None,
        typer.Option(help="The file's column with the label (label, by default)."),
    ] = None,
    horizon: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Predict within so many days, as in `keepwell train`; of a file, the days from a "
            "cutoff to the end of its label window.",
        ),
    ] = None,
    as_json: Annotated[Path | None, typer.Option("--out", help="A JSON file to write.")] = None,
    as_of: AsOf = None,
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Look for leaks in a training set: whatever was not known at its cutoffs.

    Ends with 1 where something was found, so that a pipeline stops, and with 0 where not.
    """
    own = (what if label is None else label) if what == CHURN.name else what
    is_own = own in tuple(one.value for one in OutcomeName) and not Path(what).is_file()
    if not is_own and not Path(what).suffix and not Path(what).exists():
        raise CommandError(
            f"There is no label {own!r}, and no file of that name. Choose one of: "
            f"{', '.join(one.value for one in OutcomeName)}; or name a Parquet file."
        )
    if not is_own and horizon and len(horizon) > 1:
        raise CommandError(f"{what} has one label; give --horizon once.")
    place = Workspace(require_workspace(workspace) if is_own else workspace)
    moment = None if as_of is None else start_of_day(as_of)

    import numpy as np

    from training.audit.report import CHECKS
    from training.audit.workspace import audit as audit_set
    from training.audit.workspace import history_of, set_of_file, set_of_workspace

    with show_progress("Auditing"):
        audited = (
            set_of_workspace(
                place,
                own,
                as_of=moment,
                horizons=tuple(sorted(set(horizon))) if horizon else None,
            )
            if is_own
            else set_of_file(
                Path(what), label=label or "label", horizon_days=horizon[0] if horizon else None
            )
        )
        history = history_of(place, as_of=moment, label=own if is_own else None)
        report = audit_set(audited, history, rng=np.random.default_rng(1))
    if as_json is not None:
        write_atomically(as_json, json.dumps(report.as_json(), indent=1).encode())
    table = Table("what is looked for", "verdict", "where")
    for check, title in CHECKS.items():
        where = "; ".join(one.at for one in report.looked if one.check == check)
        table.add_row(title, report.verdict(check), where)
    out.print(table)
    for line in report.lines():
        out.print(line, highlight=False, markup=False)
    if not report.is_clean:
        raise typer.Exit(FOUND)


def judge(
    scores: Annotated[
        Path,
        typer.Argument(
            help="Parquet or CSV with account_id, as_of and probabilities, such as "
            "churn_probability_90d; any model's."
        ),
    ],
    outcomes: Annotated[
        Path,
        typer.Argument(
            help="Parquet or CSV with account_id, as_of and what came, such as churn_90d: 1, 0 or "
            "nothing where it is not decided."
        ),
    ],
    against: Annotated[
        Path | None,
        typer.Option(help="Other scores of the same accounts, to compare with in pairs."),
    ] = None,
    outcome: Annotated[str, typer.Option(help="Which outcome, as columns name it.")] = CHURN.name,
    horizon: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Judge only this horizon; a file of one horizon may then call its columns "
            "probability and outcome.",
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="A column whose groups are judged apart; segment, by default."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws behind the intervals.")] = 1,
    as_json: Annotated[Path | None, typer.Option("--out", help="A JSON file to write.")] = None,
) -> None:
    """Judge any file of scores against outcomes, alone or beside other scores.

    By horizon: AUC, log loss, lift, came over promised, slope, curve, each cutoff and each group,
    with 95 % intervals that draw whole accounts. Beside other scores the differences are paired.
    Needs no workspace.
    """
    from training.backtest.score_judge import judge_scores
    from training.backtest.score_report import judged_json, judged_tables
    from training.backtest.score_tables import pair_tables, read_table

    judged = judge_scores(
        pair_tables(
            read_table(scores),
            read_table(outcomes),
            None if against is None else read_table(against),
            outcome=outcome,
            horizon=horizon,
            by=tuple(by or ("segment",)),
        ),
        seed=seed,
    )
    if as_json is not None:
        write_atomically(as_json, json.dumps(judged_json(judged), indent=1).encode())
    for sheet in judged_tables(judged):
        out.print(f"\n{sheet.title}", highlight=False, markup=False)
        table = Table(*sheet.columns)
        for row in sheet.rows:
            table.add_row(*row)
        out.print(table)


def monitor(
    label: Annotated[
        OutcomeName | None,
        typer.Argument(help="Only the champion of this outcome; every champion, by default."),
    ] = None,
    prometheus: Annotated[
        Path | None,
        typer.Option(
            help="Another file for the figures than monitoring/keepwell.prom of the workspace, such as "
            "one in the folder of node_exporter's textfile collector."
        ),
    ] = None,
    as_of: AsOf = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Look at the serving models: drift, matured labels, and the segments they answer for.

    Documents and pictures go to monitoring/ in the workspace. Where a model was clearly worse than
    what would answer instead at two looks in a row, the service withholds it from that segment.
    Ends with 1 where something needs a person, and with 0 where not.
    """
    place = Workspace(workspace)
    store = store_at(models_address(place), os.environ)

    from registry.monitoring.figures import newest_figures
    from registry.monitoring.prometheus import monitoring_text
    from training.monitor.workspace import monitor_workspace

    labels = [one.value for one in OutcomeName] if label is None else [label.value]
    with place.lock(), show_progress("Looking at the serving models") as progress:
        watched = monitor_workspace(
            place, labels, store=store, as_of=moment_of(place, as_of), progress=progress
        )
    if not any(one.files or one.needs_person for one in watched):
        raise CommandError(
            f"{' '.join(line for one in watched for line in one.lines)} Promote one "
            f"(keepwell models promote {labels[0]} VERSION --by NAME)."
        )
    file = prometheus or place.monitoring_dir / "keepwell.prom"
    write_atomically(file, monitoring_text(newest_figures(place.monitoring_dir)))
    for one in watched:
        for line in one.lines:
            out.print(line, highlight=False, markup=False)
    kept = [path for one in watched for path in one.files]
    if kept:
        out.print(
            f"{plural(len(kept), 'file')} in {kept[0].parent}; figures in {file}.",
            highlight=False,
            markup=False,
        )
    if any(one.needs_person for one in watched):
        raise typer.Exit(FOUND)


def upload(workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Register the runs that were trained while the tracking server was away."""
    place = Workspace(workspace)
    store = store_at(models_address(place), os.environ)
    waiting = pending_uploads_in(place.waiting_runs_dir, os.environ)
    with place.lock():
        for one in waiting.upload(store, by="keepwell models upload", clock=steady_clock(place)):
            out.print(
                f"{one.label} version {one.version} is there now: {one.name}.",
                highlight=False,
                markup=False,
            )
    out.print("No run waits.")


def train_models(
    place: Workspace,
    labels: tuple[str, ...],
    as_of: datetime | None,
    trials: int,
    seed: int,
    by: str | None = None,
    seconds: float | None = None,
    growing: MakeGrower | None = None,
    horizons: tuple[int, ...] | None = None,
) -> tuple[TrainingResult, ...]:
    """Train these labels and report progress; ``by`` promotes models whose evidence allows it."""
    store = store_at(models_address(place), os.environ)

    from features.compute.backfill import find_stale_moments
    from features.compute.snapshot_store import SnapshotStore
    from training.models.binned_rows import BinnedRows
    from training.pipeline.workspace import train_workspace

    waiting = pending_uploads_in(place.waiting_runs_dir, os.environ)
    there = SnapshotStore(place.snapshots_dir).moments()
    old = find_stale_moments(place, there)
    if old:
        out.print(
            f"{len(old)} of {len(there)} snapshots were made before the newest events or "
            f"declarations came, the first as of {old[0]:%Y-%m-%d}. To train on all that is "
            f"known now, make them again: keepwell snapshot --from {old[0]:%Y-%m-%d} "
            f"--to {old[-1]:%Y-%m-%d}.",
            style="yellow",
        )
    named = " and ".join(labels)
    with place.lock(), show_progress(f"Training {named} models") as progress:
        return train_workspace(
            place,
            labels,
            store=store,
            as_of=None if as_of is None else start_of_day(as_of),
            clock=steady_clock(place),
            trials=trials,
            seed=seed,
            by=by,
            progress=progress,
            waiting=waiting,
            seconds=seconds,
            growing=growing or BinnedRows.of,
            horizons=horizons,
        )


@contextmanager
def _grown_elsewhere(cluster: str | None, workers: int | None) -> Iterator[MakeGrower | None]:
    """The place where a training grows its trees, if not in this process."""
    if cluster is None and workers is None:
        yield None
        return
    from training.models.dask import connect_to_cluster, trees_of_cluster

    with connect_to_cluster(cluster, workers=workers or 1) as client:
        yield trees_of_cluster(client)


def promotion_evidence(
    place: Workspace,
    store: MlflowModelStore,
    label: str,
    version: int,
    capacity: int | None,
    force: bool,
) -> EvidenceDocument:
    """Print the evidence for a version; refuse it if a check fails."""
    bundle = store.load(label, version)

    from registry.promotion.promotion import check_lines
    from training.audit.workspace import audit_for_promotion, horizons_asked_for
    from training.pipeline.evidence import promotion_of_version

    with show_progress("Auditing the rows it learned from"):
        found = audit_for_promotion(
            place,
            label,
            as_of=bundle.metadata.as_of,
            horizons=horizons_asked_for(place, bundle),
        )
    decision, evidence = promotion_of_version(
        store, label, version, audited=found, capacity=capacity or place.settings.capacity
    )
    for line in check_lines(evidence):
        out.print(line, highlight=False, markup=False)
    if decision.approved:
        return evidence
    if not force:
        raise CommandError(
            f"{label} version {version} was not promoted, for the reasons above. "
            f"Nothing was changed."
        )
    return {**evidence, "despite_evidence": True}
