"""This module is about the command ``keepwell``: from telemetry to scores, actions and reports.

A thin rim: every command reads its words, calls one package and prints what came of it. Heavy
libraries are imported by the command that needs them. Exit codes: 0 done; 1 a fault of Keepwell, or
`audit` or `monitor` found something; 2 the words of the command are off; 3 the input or the state
does not allow it; 4 another process is writing to the workspace, try again.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

# nothing leaves the machine; both are read when MLflow is imported
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

import typer
from rich.console import Console
from rich.table import Table

from features.workspace import (
    TRACKING_VARIABLE,
    Workspace,
    WorkspaceBusyError,
    write_atomically,
)

if TYPE_CHECKING:
    from features.ingest_summary import IngestSummary
    from registry.mlflow_store import MlflowModelStore
    from registry.promotion import EvidenceDocument
    from registry.waiting_runs import WaitingRuns
    from serving.api_keys import ApiKeys
    from serving.chance_rules import ChanceRules
    from serving.ledger.ledger import Ledger
    from serving.recommending import Decided
    from serving.roles import Permission
    from serving.scores_file import ScoresWritten
    from serving.webhooks.outbox import Outbox
    from training.growing import Growing
    from training.run import TrainingResult

FAULT, FOUND, REFUSED, BUSY = 1, 1, 3, 4
OWN_PACKAGES = ("features", "registry", "training", "experiments", "serving", "keepwell")
EXAMPLES = Path(__file__).parent / "examples"

app = typer.Typer(
    help="Which accounts are likely to leave or to grow, what to do about each, and whether "
         "doing it has worked.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="List, show, promote and roll back models.", no_args_is_help=True)
app.add_typer(models_app, name="models")
ledger_app = typer.Typer(help="Whether the ledger of decisions is as it was written.",
                         no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")
webhooks_app = typer.Typer(help="Tell other programs what was decided and what came of it.",
                           no_args_is_help=True)
app.add_typer(webhooks_app, name="webhooks")
keys_app = typer.Typer(help="Make, list, change and end the API keys of a workspace.",
                       no_args_is_help=True)
app.add_typer(keys_app, name="keys")

out = Console()
err = Console(stderr=True)

InWorkspace = Annotated[Path, typer.Option(
    "--workspace", "-w", help="The folder that holds everything of one company.",
    envvar="KEEPWELL_WORKSPACE")]
AsOf = Annotated[datetime | None, typer.Option(
    "--as-of", formats=["%Y-%m-%d"], help="The moment asked about, 00:00 UTC of that day; where "
    "the data end, by default.")]
DEFAULT_WORKSPACE = Path(".keepwell/crm")


class Predicted(StrEnum):
    """What can be predicted."""

    CHURN = "churn"
    EXPANSION = "expansion"
    CONTRACTION = "contraction"
    SILENT_CHURN = "silent_churn"


WhichWebhook = Annotated[str, typer.Argument(help="The name of the webhook.")]
WhichModel = Annotated[Predicted, typer.Argument(help="The model of which outcome.")]


class KeyRole(StrEnum):
    """What the holder of an API key is."""

    READER = "reader"
    CSM = "csm"
    APPROVER = "approver"
    ENGINE = "engine"
    ADMIN = "admin"


KeyId = Annotated[str, typer.Argument(help="Its id, as `keepwell keys list` shows it.")]


class World(StrEnum):
    """The samples of ``keepwell demo``."""

    CRM = "crm"
    SIMULATED = "simulated"


class Preset(StrEnum):
    """Sizes of the simulated world."""

    TINY = "tiny"
    SMALL = "small"
    STANDARD = "standard"
    LONG = "long"


class Engine(StrEnum):
    """What computes: this process, or a Spark cluster."""

    LOCAL = "local"
    SPARK = "spark"


OnEngine = Annotated[Engine, typer.Option(
    help="What computes: this process, or Spark (the extra keepwell\\[spark], and Java 17).")]
Master = Annotated[str, typer.Option(
    help="For the engine spark: local[2], or the address of a cluster that sees the workspace "
    "under the same path.", envvar="SPARK_MASTER")]


OnlyAction = Annotated[str | None, typer.Option(help="Only this action of the playbook.")]
OnlySegment = Annotated[str | None, typer.Option(help="Only accounts of this segment.")]
OnlyCsm = Annotated[str | None, typer.Option(help="Only accounts of this CSM.")]
Reason = Annotated[str, typer.Option(help="Why; everybody who is stopped reads it.")]
ActingAs = Annotated[str | None, typer.Option(
    "--by", help="Who does it: the owner of the key in KEEPWELL_KEY where that is set, or else "
                 "the name of this login.")]


DecidedBy = Annotated[str | None, typer.Option(
    "--by", help="Who decides; it is recorded. The owner of the API key in KEEPWELL_KEY, where "
                 "that is set.")]


class Every(StrEnum):
    """How far the moments of a backfill lie apart."""

    MONTH = "month"
    WEEK = "week"


class CommandError(Exception):
    """The command can not do what it was told."""


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Where the events and their mapping go.")],
    preset: Annotated[Preset, typer.Option(help="How large.")] = Preset.STANDARD,
    seed: Annotated[int, typer.Option(help="Same seed, same world.")] = 1,
) -> None:
    """Simulate a company with interventions and known truth.

    The events and their mapping go to FOLDER/events, ready for `keepwell ingest`; the truth goes
    to FOLDER/truth, which nothing but a test may read.
    """
    import numpy as np

    from experiments.simulation.settings import PRESETS
    from experiments.simulation.world import simulate as simulate_world
    from experiments.simulation.world import write_world

    with _step("Simulating"):
        world = simulate_world(PRESETS[preset.value], np.random.default_rng(seed))
        write_world(world, folder)
    out.print(f"{world.events.height:,} events in {folder}.")


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of files.")],
    mapping: Annotated[Path | None, typer.Option(
        help="The TOML file that says which column is what; .jsonl files of events need none."
    )] = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Read source files onto the timeline. The same file twice changes nothing."""
    from features.ingest import ingest as ingest_files

    with _step("Ingesting"):
        summary = ingest_files(Workspace(workspace), paths, mapping)
    _print_summary(summary)


@app.command()
def consume(
    bootstrap: Annotated[str, typer.Option(help="Brokers, as HOST:PORT separated by commas.")],
    topic: Annotated[str, typer.Option(help="The topic; a message is one event as JSON.")],
    group: Annotated[str, typer.Option(help="The consumer group, whose offsets are kept.")],
    option: Annotated[list[str] | None, typer.Option(
        help="Another setting of Kafka's client, such as security.protocol=SASL_SSL.")] = None,
    options_from: Annotated[Path | None, typer.Option(
        help="A file with such settings, one a line; secrets belong there.")] = None,
    until_idle: Annotated[float | None, typer.Option(
        min=0, metavar="SECONDS", help="Stop after so long without a message; never, by default."
    )] = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Read events from Kafka onto the timeline, and keep the features of their accounts fresh.

    Every message counts once, whatever is killed when: how far the topic was read is stored with
    the events. Stop with Ctrl-C, and start again to go on.
    """
    from features.consume import consume as consume_stream
    from features.feast_store import WorkspaceFeatures
    from features.kafka_topic import KafkaTopic
    from features.lake import Lake
    from features.stream import StreamSummary, offsets_of
    from features.touched import TouchedAccounts, clock_of

    place = Workspace(workspace)
    lake = Lake(place.events_dir, place.quarantine_dir)
    touched, publish = TouchedAccounts(place), WorkspaceFeatures(place).publish
    lines = options_from.read_text(encoding="utf-8").splitlines() if options_from else []
    stream = KafkaTopic(bootstrap, topic, group, offsets=lambda: offsets_of(lake, group),
                        options=_client_settings([*lines, *(option or [])]))
    total = StreamSummary()

    def count(summary: StreamSummary) -> None:
        nonlocal total
        total += summary

    try:
        consume_stream(
            stream, lake, group=group, now=lambda: place.settings.clock or datetime.now(UTC),
            landed=count, idle_seconds=until_idle,
            caught_up=lambda: touched.catch_up(
                moment=clock_of(place, lambda: datetime.now(UTC)), publish=publish))
    except KeyboardInterrupt:
        pass
    finally:
        stream.close()
        out.print(total.line(), highlight=False)


@app.command()
def snapshot(
    as_of: AsOf = None,
    first: Annotated[datetime | None, typer.Option(
        "--from", formats=["%Y-%m-%d"], help="First moment of a series.")] = None,
    last: Annotated[datetime | None, typer.Option(
        "--to", formats=["%Y-%m-%d"], help="Last moment of a series.")] = None,
    every: Annotated[Every, typer.Option(help="Step of the series.")] = Every.MONTH,
    engine: OnEngine = Engine.LOCAL, master: Master = "local[*]",
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Compute every feature of every account as of a moment, or of a series of moments."""
    place = Workspace(workspace)
    if (first is None) != (last is None) or (first is not None and as_of is not None):
        raise CommandError("Give --as-of DATE for one moment, or --from DATE --to DATE for a "
                           "series of them.")
    if first is not None and last is not None:
        moments = _series(_utc(first), _utc(last), every)
    else:
        moments = (_moment(place, as_of),)
    rows = (_snapshot(place, moments) if engine is Engine.LOCAL
            else _snapshot_on_spark(place, moments, master))
    out.print(f"{_many(rows, 'snapshot')} as of {_many(len(moments), 'moment')} in "
              f"{place.snapshots_dir}.")


@app.command()
def features(
    workspace: InWorkspace = DEFAULT_WORKSPACE,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the catalogue: every feature, its window, its unit and what it says."""
    from features.catalogue import catalogue

    declared = catalogue(Workspace(workspace).settings.use_names).features
    if as_json:
        rows = [{"name": f.name, "theme": f.theme, "unit": f.unit, "role": f.role,
                 "direction": f.direction, "description": f.description, "digest": f.digest}
                for f in declared]
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table("feature", "theme", "unit", "role", "what it is")
    for f in declared:
        table.add_row(f.name, f.theme, f.unit, f.role, f.description)
    out.print(table)
    out.print(f"{len(declared)} features.")


@app.command()
def train(
    label: Annotated[Predicted, typer.Argument(help="What to predict.")],
    as_of: AsOf = None,
    trials: Annotated[int, typer.Option(min=0, help="Trials of the tuning study.")] = 12,
    seconds: Annotated[float | None, typer.Option(
        min=0, help="No trial begins later than this; without it only trials are counted, and the "
        "same data and seed give the same model.")] = None,
    seed: Annotated[int, typer.Option(help="Same data and seed, same model.")] = 1,
    cluster: Annotated[str | None, typer.Option(
        help="Grow the trees on the Dask cluster of the scheduler at this address (the extra "
        "keepwell\\[dask]); the study's on this machine.")] = None,
    workers: Annotated[int | None, typer.Option(
        min=1, help="The same on so many worker processes of this machine.")] = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Train, judge on later data, and register; the best candidate becomes the challenger.

    LightGBM, a logistic regression and the refined health formula run against the base rate, the
    health formula and last month's usage, on rows later than all they were fitted on. Where few
    accounts have left only the refined health formula may serve. `keepwell models promote` makes
    the version serve.
    """
    if cluster is not None and workers is not None:
        raise CommandError("Give --cluster ADDRESS for a cluster that runs, or --workers N for "
                           "workers of this machine.")
    with _grown_elsewhere(cluster, workers) as growing:
        (result,) = _train(Workspace(workspace), (label.value,), as_of, trials, seed,
                           seconds=seconds, growing=growing)
    out.print(result.summary, highlight=False, markup=False)
    if result.promotion.approved and result.version is not None:
        out.print(f"To let it serve: keepwell models promote {label.value} {result.version} "
                  f'--by "YOUR NAME"', highlight=False)


@app.command()
def backtest(
    label: Annotated[str, typer.Argument(help="Which declared label.")] = "churn",
    origins: Annotated[int, typer.Option(
        help="At how many cutoffs everything is fitted anew, at most.")] = 6,
    capacity: Annotated[int, typer.Option(
        help="How many accounts the team can act on at every cutoff.")] = 20,
    as_json: Annotated[Path | None, typer.Option("--out", help="A JSON file to write.")] = None,
    seed: Annotated[int, typer.Option(help="Same data and seed, same numbers.")] = 1,
    as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Judge every contender at many origins, each on what was known then; stores no model.

    Later rows judge, with an embargo; every row once. Numbers come with 95 % intervals over
    accounts, beside the base rate, the health formula, last month's usage and the logistic
    regression, by horizon, segment, service tier and tenure.
    """
    from training.backtest_report import as_json as report_as_json
    from training.backtest_report import remarks, sheets
    from training.backtest_workspace import backtest_on

    place = Workspace(workspace)
    with _step(f"Back-testing {label}") as progress:
        result = backtest_on(place, label, as_of=_moment(place, as_of), n_origins=origins,
                             capacity=capacity, seed=seed, progress=progress)
    if as_json is not None:
        write_atomically(as_json, json.dumps(report_as_json(result), indent=1).encode())
    for sheet in sheets(result):
        out.print(f"\n{sheet.title}", highlight=False, markup=False)
        if sheet.rows:
            table = Table(*sheet.columns)
            for row in sheet.rows:
                table.add_row(*row)
            out.print(table)
    for line in (*remarks(result), result.summary):
        out.print(line, highlight=False, markup=False)


@app.command()
def audit(
    file: Annotated[Path | None, typer.Argument(
        help="A Parquet file with account_id, as_of, features, label and maybe split; the "
             "workspace's own training set, by default.")] = None,
    label: Annotated[str | None, typer.Option(
        help="The file's column with the label (label, by default), or what the workspace's own "
             "set predicts (churn, by default).")] = None,
    horizon: Annotated[int | None, typer.Option(
        min=1, help="Days from a cutoff to the end of its label window, for a file.")] = None,
    as_json: Annotated[Path | None, typer.Option("--out", help="A JSON file to write.")] = None,
    as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Look for leaks in a training set: whatever was not known at its cutoffs.

    Ends with 1 where something was found, so that a pipeline stops, and with 0 where not.
    """
    import numpy as np

    from training.audit import CHECKS
    from training.workspace_audit import audit as audit_set
    from training.workspace_audit import history_of, set_of_file, set_of_workspace

    place = Workspace(workspace)
    moment = _moment(place, as_of)
    with _step("Auditing"):
        audited = (set_of_workspace(place, label or "churn", as_of=moment) if file is None else
                   set_of_file(file, label=label or "label", horizon_days=horizon))
        report = audit_set(audited, history_of(place, as_of=moment), rng=np.random.default_rng(1))
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


@app.command()
def monitor(
    label: Annotated[Predicted | None, typer.Argument(
        help="Only the champion of this outcome; every champion, by default.")] = None,
    prometheus: Annotated[Path | None, typer.Option(
        help="Another file for the figures than monitoring/keepwell.prom of the workspace, such as "
             "one in the folder of node_exporter's textfile collector.")] = None,
    as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Look at the serving models: drift, matured labels, and the segments they answer for.

    Documents and pictures go to monitoring/ in the workspace. Where a model was clearly worse than
    what would answer instead at two looks in a row, the service withholds it from that segment.
    Ends with 1 where something needs a person, and with 0 where not.
    """
    from registry.monitored import newest_figures
    from serving.observed import monitoring_text
    from training.monitor_workspace import monitor_on

    place = Workspace(workspace)
    store = _store(place)
    labels = [one.value for one in Predicted] if label is None else [label.value]
    with place.lock(), _step("Looking at the serving models") as progress:
        watched = monitor_on(place, labels, store=store, as_of=_moment(place, as_of),
                             progress=progress)
    if not any(one.files or one.needs_person for one in watched):
        raise CommandError(f"{' '.join(line for one in watched for line in one.lines)} Promote one "
                           f"(keepwell models promote {labels[0]} VERSION --by NAME).")
    file = prometheus or place.monitoring_dir / "keepwell.prom"
    write_atomically(file, monitoring_text(newest_figures(place.monitoring_dir)))
    for one in watched:
        for line in one.lines:
            out.print(line, highlight=False, markup=False)
    kept = [path for one in watched for path in one.files]
    if kept:
        out.print(f"{_many(len(kept), 'file')} in {kept[0].parent}; figures in {file}.",
                  highlight=False, markup=False)
    if any(one.needs_person for one in watched):
        raise typer.Exit(FOUND)


@models_app.command("list")
def models_list(
    model: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """List every version, and which one serves."""
    from registry.store import MODELS

    store = _store(Workspace(workspace))
    table = Table("model", "version", "run", "fingerprint", "is")
    if model is not None and model not in MODELS:
        raise CommandError(f"There is no model {model!r}; there are {', '.join(MODELS)}.")
    for label in MODELS if model is None else (model,):
        for version in store.versions(label):
            table.add_row(label, str(version.version), version.run_name, version.fingerprint[:12],
                          "champion" if version.is_champion else
                          "challenger" if version.is_challenger else "")
    out.print(table)


@models_app.command("show")
def models_show(
    label: WhichModel,
    version: Annotated[int | None, typer.Option(help="The champion, by default.")] = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Show what a version was trained on, its metrics, and how the champion changed."""
    store = _store(Workspace(workspace))
    number = version or store.champion_version(label.value).version
    shown = next((v for v in store.versions(label.value) if v.version == number), None)
    bundle = store.load(label.value, number)
    out.print_json(json.dumps({
        "model": label.value, "version": number,
        "run": None if shown is None else shown.run_name,
        "form": bundle.metadata.notes.get("model", type(bundle.form).__name__),
        "as_of": bundle.metadata.as_of.isoformat(), "horizons_days": list(bundle.horizons),
        "data_fingerprint": bundle.metadata.data_fingerprint,
        "code_version": bundle.metadata.code_version,
        "label_policy": dict(bundle.metadata.label_policy),
        "features": list(bundle.contract.names), "metrics": dict(bundle.metrics),
        "not_estimable": {str(days): why for days, why in bundle.not_estimable.items()},
        "history": [asdict(change) for change in store.history(label.value)],
    }, default=str))


@models_app.command("promote")
def models_promote(
    label: WhichModel,
    version: Annotated[int, typer.Argument(help="The version that shall serve.")],
    by: DecidedBy = None,
    approve: Annotated[bool, typer.Option(
        "--approve", help="Approve what another person asked for, where the workspace wants two."
    )] = False,
    capacity: Annotated[int | None, typer.Option(
        min=1, help="Accounts that the team looks after at a cutoff, for the revenue captured; "
        "the workspace's, by default.")] = None,
    force: Annotated[bool, typer.Option(
        "--despite-evidence", help="Promote although the evidence speaks against it; that is "
        "recorded too.")] = False,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Make a version the champion, on the evidence of its own test rows and an audit for leaks.

    With `second_person = true` in workspace.toml it waits until another person approves it.
    """
    from registry.approval import approved

    place = Workspace(workspace)
    store, name = _store(place), label.value
    by = _who(place, by, "approve" if approve else "administer")
    with place.lock():
        if approve:
            request = approved(store.asked(name), label=name, version=version, by=by)
            store.promote(name, version, evidence=request.evidence, by=request.by, approved_by=by,
                          at=datetime.now(UTC), known_changes=request.changes)
            out.print(f"{name} version {version} serves now, asked for by {request.by} and "
                      f"approved by {by}.", highlight=False, markup=False)
            return
        known = len(store.history(name))
        evidence = _promotion_evidence(place, store, name, version, capacity, force)
        if place.settings.second_person:
            store.ask(name, version, evidence=evidence, by=by, at=datetime.now(UTC))
            out.print(f"Asked for by {by}. It serves as soon as another person approves: keepwell "
                      f"models promote {name} {version} --by NAME --approve", highlight=False,
                      markup=False)
            return
        store.promote(name, version, evidence=evidence, by=by, at=datetime.now(UTC),
                      known_changes=known)
    out.print(f"{name} version {version} serves now.")


@models_app.command("history")
def models_history(label: WhichModel, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Show every change of the champion: who, when, and what each check said."""
    store = _store(Workspace(workspace))
    history, waiting = store.history(label.value), store.asked(label.value)
    for change in history:
        second = f", approved by {change.approved_by}" if change.approved_by else ""
        despite = ", despite the evidence" if change.evidence.get("despite_evidence") else ""
        out.print(f"{change.at:%Y-%m-%d %H:%M} UTC: version {change.version} {change.how} by "
                  f"{change.by}{second}{despite}", highlight=False, markup=False)
        _print_checks(change.evidence)
    if not history:
        out.print(f"No version of {label.value} was ever promoted.")
    if waiting is not None:
        out.print(f"{waiting.at:%Y-%m-%d %H:%M} UTC: version {waiting.version} asked for by "
                  f"{waiting.by}; another person has to approve it.", highlight=False, markup=False)
        _print_checks(waiting.evidence)


@models_app.command("upload")
def models_upload(workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Register the runs that were trained while the tracking server was away."""
    place = Workspace(workspace)
    store, waiting = _store(place), _waiting(place)
    with place.lock():
        for one in waiting.upload(store, by="keepwell models upload",
                                  clock=lambda: datetime.now(UTC)):
            out.print(f"{one.label} version {one.version} is there now: {one.name}.",
                      highlight=False, markup=False)
    out.print("No run waits.")


@models_app.command("shadow")
def models_shadow(label: WhichModel, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Show how far challenger and champion agree, from what `keepwell score --shadow` kept."""
    from serving.shadow import ShadowFiles, summarise

    files = ShadowFiles(Workspace(workspace).shadow_dir)
    for line in summarise(label.value, files.newest(label.value)).lines():
        out.print(line, highlight=False, markup=False)


@models_app.command("metrics")
def models_metrics(
    readme: Annotated[Path, typer.Option(
        help="A Markdown file with <!-- metrics --> and <!-- /metrics --> to write between.")],
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Write the metrics of the demo's models, beside their baselines, into a document."""
    file = Workspace(workspace).root / DEMO_FILE
    text = readme.read_text(encoding="utf-8")
    opening, ending = "<!-- metrics -->", "<!-- /metrics -->"
    if not file.exists() or opening not in text or ending not in text:
        raise CommandError(f"That needs a workspace where `keepwell demo` has run ({workspace}) "
                           f"and a document with {opening} and {ending} ({readme}).")
    before, rest = text.split(opening)
    record = json.loads(file.read_text(encoding="utf-8"))
    write_atomically(readme, (before + opening + "\n" + record["metrics"] + "\n" + ending
                              + rest.split(ending)[1]).encode())
    out.print(f"{readme} holds the metrics of {file}.")


@models_app.command("rollback")
def models_rollback(
    label: WhichModel, by: DecidedBy = None, workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Make the previous champion serve again."""
    place = Workspace(workspace)
    store = _store(place)
    by = _who(place, by, "administer")
    with place.lock():
        change = store.rollback(label.value, by=by, at=datetime.now(UTC))
    out.print(f"{label.value} version {change.version} serves again.")


@ledger_app.command("verify")
def ledger_verify(
    head: Annotated[str | None, typer.Option(
        help="A head that was noted before: the ledger has to hold it still.")] = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Look for the first altered, missing, added or moved record; ends with 1 if there is one."""
    place = Workspace(workspace)
    if head is not None and not re.fullmatch("[0-9a-f]{64}", head):
        raise CommandError(f"{head!r} is no head of a ledger, which has 64 characters of 0 to 9 "
                           f"and a to f. Copy the one that `keepwell ledger verify` printed.")
    with _ledger(place, must_exist=True) as ledger:
        verified = ledger.verify(head=head)
    if verified.finding is not None:
        out.print(verified.finding.words, markup=False)
        raise typer.Exit(FOUND)
    out.print(f"{_many(verified.records, 'record')}, each as it was written. Note the head "
              f"elsewhere: only against it are removed newest records found.", markup=False)
    out.print(f"head {verified.head}", markup=False, soft_wrap=True)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="What it is for, such as 'playbook engine'.")],
    owner: Annotated[str, typer.Option(
        help="Who did what is done with it; of a CSM, the name that accounts have as csm.")],
    role: Annotated[KeyRole, typer.Option(help="What the holder may do.")],
    territory: Annotated[list[str] | None, typer.Option(
        help="A region whose accounts are reached; may be given several times. A CSM also "
             "reaches accounts that name them, any other role without territories all.")] = None,
    permission: Annotated[list[str] | None, typer.Option(
        help="Only this permission of the role; may be given several times.")] = None,
    days: Annotated[int, typer.Option(
        min=0, max=3650, help="How long it lives; 0 is until it is revoked.")] = 90,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Make an API key and show it, this once.

    From the first key on the service answers nobody without one.
    """
    from serving.roles import permissions_named

    now = datetime.now(UTC)
    with _keys(Workspace(workspace)) as keys:
        new = keys.create(
            name=name, owner=owner, role=role.value, territories=tuple(territory or ()),
            permissions=permissions_named(permission) if permission else None,
            expires_at=now + timedelta(days=days) if days else None, now=now)
    until = "it is revoked" if new.key.expires_at is None else f"{new.key.expires_at:%Y-%m-%d}"
    out.print(f"Key {new.key.key_id} of {owner} ({role.value}), until {until}. Keep it now: it is "
              f"not shown again.", highlight=False, markup=False)
    typer.echo(new.secret)


@keys_app.command("list")
def keys_list(workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """List every key: whose it is, what it may, and until when. Shows none."""
    now = datetime.now(UTC)
    table = Table("id", "name", "owner", "role", "territories", "until", "is", "secrets")
    with _keys(Workspace(workspace)) as keys:
        for key in keys.all():
            role = key.role + ("" if key.permissions is None
                               else f" ({', '.join(sorted(key.permissions))})")
            until = "" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M}"
            live = sum(one.is_live(now) for one in key.secrets)
            table.add_row(key.key_id, key.name, key.owner, role, ", ".join(key.territories),
                          until, key.state(now), str(live))
    out.print(table)


@keys_app.command("rotate")
def keys_rotate(
    key_id: KeyId,
    overlap: Annotated[float, typer.Option(
        "--overlap-hours", min=0, max=24 * 90,
        help="How long the secret of before goes on; 0 ends it now.")] = 24.0,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Give a key a new secret and show it, this once; the one before goes on for a while."""
    with _keys(Workspace(workspace)) as keys:
        new = keys.rotate(key_id, overlap=timedelta(hours=overlap), now=datetime.now(UTC))
    out.print(f"Key {key_id} has a new secret; the one before goes on for {overlap:g} hours. Keep "
              f"it now: it is not shown again.", highlight=False, markup=False)
    typer.echo(new.secret)


@keys_app.command("revoke")
def keys_revoke(key_id: KeyId, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """End a key now; services that run see it at the next request."""
    with _keys(Workspace(workspace)) as keys:
        key = keys.revoke(key_id, now=datetime.now(UTC))
    out.print(f"Key {key_id} of {key.owner} is revoked since {key.revoked_at:%Y-%m-%d %H:%M} UTC.",
              highlight=False, markup=False)


@ledger_app.command("replay")
def ledger_replay(
    decision: Annotated[str, typer.Argument(help="The id of the decision.")],
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Ask a stored decision again, and compare every number; ends with 1 if one differs."""
    from serving.errors import UnknownDecisionError
    from serving.ledger.replay import replay, shared_digest

    with _ledger(Workspace(workspace), must_exist=True) as ledger:
        try:
            kept = ledger.decision(decision)
        except UnknownDecisionError as error:
            raise CommandError(f"There is no decision {decision!r:.80} in this ledger. An id is "
                               f"the decision_id that POST /v1/next-actions answered; if it was "
                               f"answered elsewhere, name that workspace.") from error
        found = replay(kept, ledger.shared_input(shared_digest(kept)))
    out.print(found.words, markup=False, highlight=False)
    if found.difference is not None:
        raise typer.Exit(FOUND)


@app.command()
def stop(
    reason: Reason, action: OnlyAction = None, segment: OnlySegment = None, csm: OnlyCsm = None,
    by: ActingAs = None, workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """The kill switch: let nothing be claimed, or nothing of an action, a segment or a CSM."""
    _control("stop", workspace, action=action, segment=segment, csm=csm, by=by, reason=reason)


@app.command()
def resume(
    reason: Reason, action: OnlyAction = None, segment: OnlySegment = None, csm: OnlyCsm = None,
    by: ActingAs = None, workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Let go on what `keepwell stop` stopped, named in the same way."""
    _control("resume", workspace, action=action, segment=segment, csm=csm, by=by, reason=reason)


@webhooks_app.command("add")
def webhooks_add(
    url: Annotated[str, typer.Argument(help="Where to, as https://hooks.example/keepwell; its host "
                                       "has to be in KEEPWELL_WEBHOOK_HOSTS.")],
    name: Annotated[str, typer.Option(help="What to call it.")],
    about: Annotated[list[str] | None, typer.Option(
        help="decision, outcome, claim, feedback or control; all, by default.")] = None,
    from_start: Annotated[bool, typer.Option(
        "--from-start", help="Also tell what the ledger holds already.")] = False,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Add a webhook, and print its secret, once.

    Messages are signed by Standard Webhooks. The service sends them while it runs, where
    KEEPWELL_WEBHOOK_HOSTS names the host.
    """
    import secrets

    from serving.settings import service_settings
    from serving.webhooks.address import checked_url
    from serving.webhooks.messages import ALL_KINDS, newest_place
    from serving.webhooks.outbox import Endpoint
    from serving.webhooks.signature import SECRET_BYTES, secret_text

    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", name):
        raise CommandError(f"{name!r:.80} is no name of a webhook: up to 60 letters, digits, dots, "
                           f"dashes and underlines.")
    unknown = sorted(set(about or ()) - set(ALL_KINDS))
    if unknown:
        raise CommandError(f"A webhook can not be about {', '.join(unknown)}; it can be about "
                           f"{', '.join(ALL_KINDS)}.")
    checked_url(url, service_settings(os.environ).webhooks)
    secret = secret_text(secrets.token_bytes(SECRET_BYTES))
    place = Workspace(workspace)
    with _ledger(place, must_exist=False) as ledger, _outbox(place) as outbox:
        outbox.add(Endpoint(name=name, url=url, kinds=tuple(about or ()),
                            place=0 if from_start else newest_place(ledger.database)), secret)
    out.print(f"The webhook {name} is told from now on. Its secret is shown this once:",
              markup=False)
    out.print(secret, markup=False, highlight=False, soft_wrap=True)


@webhooks_app.command("list")
def webhooks_list(workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """List the webhooks, and how their messages stand."""
    from serving.settings import service_settings
    from serving.webhooks.messages import newest_place

    place = Workspace(workspace)
    with _ledger(place, must_exist=False) as ledger, _outbox(place) as outbox:
        newest = newest_place(ledger.database)
        found = [(each, outbox.counts(each.name)) for each in outbox.endpoints()]
    table = Table("webhook", "address", "about", "read", "waiting", "sent", "given up", "problem")
    for endpoint, counts in found:
        given_up = f"{counts.dead:,}"
        if counts.dead_places is not None:
            given_up += " (places {}–{})".format(*counts.dead_places)
        table.add_row(endpoint.name, endpoint.url, ", ".join(endpoint.kinds) or "all",
                      f"{endpoint.place:,} of {newest:,}", f"{counts.waiting:,}",
                      f"{counts.sent:,}", given_up, counts.problem or "")
    out.print(table)
    if not service_settings(os.environ).webhooks.hosts:
        out.print("Nothing is sent: KEEPWELL_WEBHOOK_HOSTS names no host.", highlight=False)


@webhooks_app.command("remove")
def webhooks_remove(name: WhichWebhook, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Remove a webhook and its messages; the ledger keeps what they would have told."""
    with _outbox(Workspace(workspace)) as outbox:
        unsent = outbox.remove(name)
    out.print(f"The webhook {name} is gone, and with it {_many(unsent, 'message')} that it had not "
              f"taken.", markup=False)


@webhooks_app.command("rotate")
def webhooks_rotate(
    name: WhichWebhook,
    finish: Annotated[bool, typer.Option(
        "--finish", help="Sign with the newest secret alone from now on.")] = False,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Give a webhook a new secret; messages are signed with both until --finish."""
    import secrets

    from serving.webhooks.signature import SECRET_BYTES, secret_text

    with _outbox(Workspace(workspace)) as outbox:
        newest, *_ = outbox.secrets(name)
        if finish:
            outbox.change_secrets(name, (newest,))
            out.print(f"{name} is signed with its newest secret alone.", markup=False)
            return
        secret = secret_text(secrets.token_bytes(SECRET_BYTES))
        outbox.change_secrets(name, (secret, newest))
    out.print(f"{name} is signed with both secrets until keepwell webhooks rotate {name} --finish. "
              f"The new one is shown this once:", markup=False, highlight=False)
    out.print(secret, markup=False, highlight=False, soft_wrap=True)


@webhooks_app.command("replay")
def webhooks_replay(
    name: WhichWebhook,
    first: Annotated[int, typer.Option("--from", min=1, help="The first place of the ledger.")] = 1,
    last: Annotated[int | None, typer.Option(
        "--to", min=1, help="The last place; as far as was read, by default.")] = None,
    dead: Annotated[bool, typer.Option(
        "--dead", help="Only messages that were given up.")] = False,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Tell a webhook again what these places of the ledger hold; every message keeps its id."""
    from serving.webhooks.messages import messages_after

    place = Workspace(workspace)
    replayed = 0
    with _ledger(place, must_exist=True) as ledger, _outbox(place) as outbox:
        endpoint = outbox.endpoint(name)
        end = min(last or endpoint.place, endpoint.place)
        if first > end:
            raise CommandError(f"There is nothing between place {first} and place {end}: {name} "
                               f"was read up to place {endpoint.place}.")
        after, only = first - 1, outbox.dead(name) if dead else None
        while after < end:
            messages, read = messages_after(ledger.database, name, endpoint.kinds, after=after,
                                            up_to=end)
            if read == after:
                break
            after = read
            chosen = [each for each in messages if only is None or each.place in only]
            outbox.replay(name, chosen, now=datetime.now(UTC).timestamp())
            replayed += len(chosen)
    out.print(f"{_many(replayed, 'message')} of places {first} to {end} wait to be sent to {name}.",
              markup=False)


@app.command()
def score(
    file: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")],
    as_of: AsOf = None, engine: OnEngine = Engine.LOCAL, master: Master = "local[*]",
    shadow: Annotated[bool, typer.Option(
        "--shadow", help="Score with the challengers too, and keep both probabilities in the "
        "workspace; the file is the same.")] = False,
    reasons: Annotated[int, typer.Option(
        min=0, max=5, help="How many reasons an account; 0 is fastest.")] = 5,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Score every account as of a moment, with reasons, into a Parquet file."""
    place = Workspace(workspace)
    moment = _moment(place, as_of)
    with _step("Scoring"):
        written = (_scores(place, moment, file, reasons) if engine is Engine.LOCAL
                   else _scores_on_spark(place, moment, master, file, reasons))
    sources = ", ".join(f"{n:,} by {source}" for source, n in _most_first(written.by_source))
    out.print(f"{_many(written.accounts, 'account')} as of {moment:%Y-%m-%d} ({sources}) in "
              f"{file}.")
    for reason, accounts in _most_first(written.by_reason):
        out.print(f"Not by a model, {_many(accounts, 'account')}: {reason}", highlight=False,
                  markup=False)
    if shadow:
        from serving.shadow import shadow as score_in_shadow

        for line in score_in_shadow(place, _store(place), moment):
            out.print(line, highlight=False, markup=False)


@app.command()
def actions(
    file: Annotated[Path, typer.Option("--out", help="The JSON file to write.")],
    as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Rank the next best actions of every account, with what was withheld and why."""
    from serving.batch import recommendations_as_of

    place = Workspace(workspace)
    moment = _moment(place, as_of)
    with _step("Ranking actions"):
        _ensure_snapshot(place, moment)
        answer = recommendations_as_of(place, _store(place), moment, rules=_chance(place))
        write_atomically(file, json.dumps(answer, indent=1).encode())
    out.print(f"Next actions of {_many(len(answer['accounts']), 'account')} as of "
              f"{moment:%Y-%m-%d} in {file}.")


@app.command()
def plan(
    team: Annotated[Path, typer.Argument(
        help="A TOML file: hours, skills and territories of CSMs and pools, budgets, care.")],
    file: Annotated[Path, typer.Option("--out", help="The JSON file to write.")],
    as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Plan a team's week: who does what for which account, and what one more hour would bring."""
    from experiments.planning.team import read_team
    from features.touched import clock_of
    from serving.chance_rules import week_of
    from serving.kept_plan import keep_plan, kept
    from serving.ledger.plan_draws import keep_draws
    from serving.plans import document_of, plan_as_of
    from serving.timelines import TimelineStore

    place = Workspace(workspace)
    who = read_team(_text_of(team), str(team))
    moment = _moment(place, as_of)
    with _step("Planning the week"):
        _ensure_snapshot(place, moment)
        week = plan_as_of(place, _store(place), moment, who, rules=_chance(place))
        currency = place.settings.currency
        answer = document_of(week, as_of=moment, currency=currency)
        write_atomically(file, json.dumps(answer, indent=1).encode())
        made_at, made_by = clock_of(place, lambda: datetime.now(UTC)), f"keepwell plan {team.name}"
        if week.lots:
            with _ledger(place, must_exist=False) as ledger:
                keep_draws(ledger, TimelineStore(place), week, week=week_of(moment), at=made_at,
                           made_by=made_by)
        keep_plan(place, kept(week, as_of=moment, currency=currency, made_at=made_at,
                              made_by=made_by))
    out.print(f"{_many(len(answer['actions']), 'action')} for the week of {moment:%Y-%m-%d}, worth "
              f"{answer['value']:,.0f} {answer['currency']} on a cautious count "
              f"({answer['share_of_bound']:.1%} of what no plan can exceed), in {file}; "
              f"{_many(len(answer['waiting']), 'action')} wait.")
    scarce = max(answer["hours"], key=lambda hours: hours["price"])
    if scarce["price"] > 0:
        out.print(f"One more hour of {scarce['id']} would bring {scarce['price']:,.0f} "
                  f"{answer['currency']}.", markup=False)


@app.command("evaluate-policy")
def evaluate_policy(
    log: Annotated[Path | None, typer.Argument(
        help="A CSV or Parquet file of logged choices with action, propensity, reward and what the "
             "candidate would do; the workspace's own decisions, by default.")] = None,
    candidate: Annotated[Path | None, typer.Option(
        help="For the workspace's decisions: a file of decision_id and what the candidate would "
             "do. Without it the candidate is the policy without chance.")] = None,
    catalogue: Annotated[Path | None, typer.Option(
        help="For the workspace's decisions: the candidate is another actions.toml, asked what was "
             "asked then, without chance.")] = None,
    limits: Annotated[Path | None, typer.Option(
        help="The same with other limits: a TOML file such as `caution = 1.0`.")] = None,
    days: Annotated[int, typer.Option(
        min=1, max=3650, help="For the workspace's decisions: the follow-up whose revenue is the "
        "reward.")] = 90,
    file: Annotated[Path | None, typer.Option("--out", help="A JSON file to write.")] = None,
    log_file: Annotated[Path | None, typer.Option(
        "--write-log", help="A CSV file to write the workspace's decisions to, as they were "
        "read.")] = None,
    seed: Annotated[int, typer.Option(help="Same log and seed, same numbers.")] = 1,
    as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Judge another policy on logged decisions: what would it have earned?

    Values by IPS, SNIPS, DR and DR with shrinkage; the candidate passes where the one-sided 95 %
    bound of the paired difference is above 0. Ends with 1 where it does not pass, so that a
    pipeline stops, and with 0 where it does. Of decisions with propensity 1 nothing can be learned.
    """
    import numpy as np

    from experiments.logged_choices import choices_of, read_table
    from experiments.policy_evaluation import evaluate_choices
    from serving.candidate_policy import candidate_policy, choices_of_candidate
    from serving.ledger.logged_decisions import table_of, with_candidate, without_chance

    if log is not None and (candidate or log_file or catalogue or limits):
        raise CommandError("--candidate, --catalogue, --limits and --write-log go with the "
                           "decisions of a workspace. In a file of logged choices the candidate is "
                           "a column of its own.")
    if candidate is not None and (catalogue or limits):
        raise CommandError("Give --candidate FILE for choices that are known, or --catalogue and "
                           "--limits for a policy that is asked.")
    policy = None if catalogue is None and limits is None else candidate_policy(
        actions=None if catalogue is None else _text_of(catalogue, "the candidate's actions.toml"),
        limits=None if limits is None else _text_of(limits, "a TOML file of limits"))
    place, unit = Workspace(workspace), "units of reward"
    if log is not None:
        table = read_table(log)
    else:
        with _ledger(place, must_exist=True) as ledger:
            table = table_of(ledger.database, place, as_of=_moment(place, as_of),
                             follow_up=timedelta(days=days))
            if policy is not None:
                table = with_candidate(table, choices_of_candidate(ledger.database, table, policy))
            elif candidate is None:
                table = without_chance(ledger.database, table)
        unit = f"{place.settings.currency} over {days} days"
        if candidate is not None:
            table = with_candidate(table, read_table(candidate))
        if log_file is not None:
            write_atomically(log_file, table.write_csv().encode())
    with _step("Judging the candidate"):
        found = evaluate_choices(choices_of(table), unit=unit, rng=np.random.default_rng(seed))
    if file is not None:
        write_atomically(file, json.dumps(found.to_dict(), indent=1, allow_nan=False).encode())
    if found.values is not None:
        shown = Table("estimator", f"value, {unit} a decision", "95 % interval")
        for row in found.table():
            shown.add_row(*row)
        out.print(shown)
    for line in found.lines():
        out.print(line, highlight=False, markup=False)
    if not found.passes:
        raise typer.Exit(FOUND)


@app.command()
def effects(
    segment_by: Annotated[str, typer.Option(
        help="The attribute whose values are segments.")] = "segment",
    seed: Annotated[int, typer.Option(help="Same log and seed, same numbers.")] = 1,
    as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Measure what logged actions cause, with interval and grade, for the ranking to read.

    Lotteries by their odds; what people chose by weekly trials. Written to effects.json beside the
    reports. Only grades A to C move a belief; the file says why an effect has no such grade.
    """
    from experiments.uplift.workspace_effects import write_effects

    place = Workspace(workspace)
    with _step("Measuring effects"):
        path, found = write_effects(place, as_of=_moment(place, as_of), seed=seed,
                                    segment_by=segment_by)
    shown = Table("action", "on", "points", "95 % interval", "accounts' worth", "grade")
    for one in found.effects:
        if one.segment is None:
            shown.add_row(one.action_id, one.outcome, f"{100 * one.estimate:+.1f}",
                          f"{100 * one.low:+.1f} to {100 * one.high:+.1f}",
                          f"{one.effective_n:,.0f}", one.grade)
    out.print(shown)
    for line in (*found.notes, *(f"{action}: {why}" for action, why in found.unanswered.items())):
        out.print(line, highlight=False, markup=False)
    out.print(str(path))


@app.command()
def report(as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Write the causal report: which interventions work, for whom, worth how much."""
    from experiments.workspace_report import report_on

    place = Workspace(workspace)
    with _step("Estimating effects"):
        paths = report_on(place, as_of=_moment(place, as_of), written_at=datetime.now(UTC))
    for path in paths:
        out.print(str(path))


@app.command()
def conformance(
    url: Annotated[str, typer.Argument(help="Of a running Keepwell, as http://127.0.0.1:8000.")],
    writes: Annotated[bool, typer.Option(
        "--writes", help="Agree that it claims decisions there and says that they were carried "
        "out.")] = False,
    file: Annotated[Path | None, typer.Option("--out", help="A JSON file to write.")] = None,
) -> None:
    """Play a playbook engine that crashes, repeats and comes late, against a running Keepwell.

    It claims about a dozen decisions, approves them where that is needed, and says that they were
    carried out: use a service whose decisions nobody needs. The key comes from KEEPWELL_API_KEY.
    Ends with 1 where a promise was broken.
    """
    from serving.conformance import play
    from serving.engine_calls import calls_to

    if not writes:
        raise CommandError("This claims decisions at that address and says that they were carried "
                           "out, which stays in its ledger. For a service whose decisions nobody "
                           "needs, say so with --writes.")
    calls = calls_to(url, os.environ.get("KEEPWELL_API_KEY"))
    with _step(f"Playing against {calls.url.netloc}"):
        found = play(calls)
    if file is not None:
        write_atomically(file, json.dumps([asdict(each) for each in found], indent=1).encode())
    table = Table("promise", "what", "verdict", "what was seen")
    for each in found:
        table.add_row(each.name, each.promise, each.verdict, each.seen)
    out.print(table)
    if all(each.verdict == "not tested" for each in found):
        raise CommandError(f"Nothing could be tested. {found[-1].seen}")
    if any(each.verdict == "broken" for each in found):
        raise typer.Exit(FOUND)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Serve scores, reasons, next actions and the pages."""
    import uvicorn

    from features.touched import clock_of
    from serving.app import create_app
    from serving.long_lived import leave_loaded_alone
    from serving.settings import service_settings

    place = Workspace(workspace)
    if not place.root.is_dir():
        raise CommandError(f"There is no workspace {place.root}. Make one with `make run`, or name "
                           f"another with --workspace.")
    application = create_app(
        place, store=_store(place), settings=service_settings(os.environ),
        now=lambda: clock_of(place, lambda: datetime.now(UTC)),
        wall_clock=lambda: datetime.now(UTC))
    leave_loaded_alone()
    uvicorn.run(application, host=host, port=port, log_level="warning", server_header=False)


@app.command()
def demo(
    world: Annotated[World, typer.Option(help="The CRM sample, or a simulated company.")]
    = World.CRM,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
    serving: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve at the end.")] = True,
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    preset: Annotated[Preset, typer.Option(help="Size of the simulated world.")] = Preset.STANDARD,
) -> None:
    """Do the whole job on a sample: ingest, snapshot, train, promote, score, report, serve."""
    place = Workspace(workspace)
    _demo(place, world, preset)
    if serving:
        address = f"http://127.0.0.1:{port}"
        out.print(f"\nOpen [bold]{address}[/bold] for the portfolio, {address}/models for the "
                  f"evidence, {address}/docs for the API. Stop with Ctrl-C.")
        serve(port=port, workspace=workspace)


def main() -> None:
    """Run the command; an error becomes one readable paragraph and an exit code."""
    wants_traceback = "--traceback" in sys.argv
    if wants_traceback:
        sys.argv.remove("--traceback")
    try:
        app()
    except WorkspaceBusyError as error:
        _fail(error, BUSY, wants_traceback)
    except OSError as error:
        _fail(error, REFUSED, wants_traceback)
    except Exception as error:  # noqa: BLE001 - the outermost rim: nothing above could catch it
        own = type(error).__module__.split(".")[0] in (*OWN_PACKAGES, "__main__")
        _fail(error, REFUSED if own else FAULT, wants_traceback)


def _control(kind: Literal["stop", "resume"], workspace: Path, *, action: str | None,
             segment: str | None, csm: str | None, by: str | None, reason: str) -> None:
    """Write a stop or its end into the ledger, and say what is stopped now."""
    from getpass import getuser

    from features.snapshots import SnapshotStore
    from registry.playbook import playbook
    from serving.ledger.address import place_in_words
    from serving.ledger.kill_switch import Controls, Scope, stops, unknown_parts
    from serving.settings import service_settings

    place, scope = Workspace(workspace), Scope(action=action, segment=segment, csm=csm)
    if not place.root.is_dir():
        raise CommandError(f"There is no workspace {place.root}. Name another with --workspace.")
    if kind == "stop":
        snapshots = SnapshotStore(place.snapshots_dir)
        newest = snapshots.read(snapshots.moments()[-1]) if snapshots.moments() else None
        known = {name: () if newest is None or name not in newest.columns
                 else newest[name].unique().to_list() for name in ("segment", "csm")}
        for part in unknown_parts(scope, actions=playbook().by_id, segments=known["segment"],
                                  csms=known["csm"]):
            where = "the playbook" if part == "action" else "the newest snapshot"
            raise CommandError(f"There is no {part} {getattr(scope, part)!r} in {where}: stopping "
                               f"it would stop nothing. Mend the name, or stop everything by "
                               f"naming none.")
    if not reason.strip():
        raise CommandError("The reason is empty. Say why, for those who are stopped.")
    by = _who(place, by or getuser(), "approve" if kind == "stop" else "administer",
              is_named=by is not None)
    with _ledger(place, must_exist=True) as ledger:
        controls = Controls(ledger.database)
        stopped = stops(controls.all())
        if kind == "resume" and scope not in {one.scope for one in stopped}:
            what = "; ".join(one.scope.words for one in stopped) or "nothing"
            raise CommandError(f"Nobody stopped {scope.words}; stopped is {what}.")
        controls.record(kind, scope, by=by, reason=reason, at=datetime.now(UTC))
        stopped = stops(controls.all())
    where = place_in_words(service_settings(os.environ).ledger_url or place.ledger_db)
    out.print(f"{'Stopped' if kind == 'stop' else 'Resumed'} {scope.words}, in {where}.",
              markup=False)
    out.print("Stopped now: " + ("; ".join(
        f"{one.scope.words} (by {one.by}: {one.reason})" for one in stopped) or "nothing") + ".",
        markup=False)


@contextmanager
def _ledger(place: Workspace, *, must_exist: bool) -> Iterator[Ledger]:
    """The ledger of a workspace, opened; what its database says is told with its place."""
    from sqlalchemy.exc import DatabaseError

    from serving.errors import LedgerUnreachableError
    from serving.ledger.address import place_in_words
    from serving.ledger.ledger import Ledger
    from serving.settings import service_settings

    where = service_settings(os.environ).ledger_url or place.ledger_db
    name = place_in_words(where)
    if must_exist and isinstance(where, Path) and not where.exists():
        raise CommandError(f"There is no ledger in {name}: no decision was stored yet. If a "
                           f"service keeps its decisions elsewhere, set KEEPWELL_LEDGER_URL as it "
                           f"has it, or name its folder with --workspace.")
    try:
        with closing(Ledger(where)) as ledger:
            yield ledger
    except LedgerUnreachableError as error:  # another process writes for long, or the disk fails
        raise CommandError(f"{name} can not be opened now: {error.cause}. Try again, or look at "
                           f"the database and its disk.") from error
    except DatabaseError as error:
        raise CommandError(f"{name} can not be read as a ledger: {error.orig}. Put it back from a "
                           f"backup, and keep this one to look at.") from error


@contextmanager
def _outbox(place: Workspace) -> Iterator[Outbox]:
    """The webhooks of a workspace, opened."""
    from sqlalchemy.exc import DatabaseError

    from serving.settings import service_settings
    from serving.webhooks.outbox import FILE, Outbox
    from serving.webhooks.seal import Seal

    if not place.root.is_dir():
        raise CommandError(f"There is no workspace {place.root}. Name another with --workspace.")
    try:
        settings = service_settings(os.environ)
        with closing(Outbox(settings.ledger_url or place.root / FILE,
                            Seal(place.root, settings.webhook_key))) as found:
            yield found
    except DatabaseError as error:
        raise CommandError(f"The webhooks can not be read now: {error.orig}. Try again, or look at "
                           f"the database and its disk.") from error


@contextmanager
def _step(words: str) -> Iterator[Callable[[str, int, int], None]]:
    """Say what goes on, how far it is, and how long it took; into a file, a line a step."""
    began = datetime.now(UTC)
    if not out.is_terminal:
        out.print(f"{words} …")
    with out.status(f"{words} …") as status:
        def say(step: str, done: int, total: int) -> None:
            status.update(f"{words}: {step} ({done}/{total}) …")

        yield say
    seconds = (datetime.now(UTC) - began).total_seconds()
    out.print(f"[green]✓[/green] {words} [dim]({seconds:.1f} s)[/dim]")


def _client_settings(lines: list[str]) -> dict[str, str]:
    settings = {}
    for line in (line.strip() for line in lines):
        name, is_set, value = line.partition("=")
        if not is_set and line and not line.startswith("#"):
            raise CommandError(f"{line!r} is no setting of Kafka's client. Write it as NAME=VALUE, "
                               f"such as security.protocol=SASL_SSL.")
        if is_set and not line.startswith("#"):
            settings[name.strip()] = value.strip()
    return settings


def _many(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _utc(day: datetime) -> datetime:
    return day.replace(tzinfo=UTC)


def _moment(place: Workspace, as_of: datetime | None) -> datetime:
    return place.now(None if as_of is None else _utc(as_of))


def _series(first: datetime, last: datetime, every: Every) -> tuple[datetime, ...]:
    from features.backfill import month_starts

    if every is Every.MONTH:
        moments = month_starts(first, last)
    else:
        moments = tuple(first + timedelta(weeks=week)
                        for week in range((last - first) // timedelta(weeks=1) + 1))
    if not moments:
        raise CommandError(f"There is no start of a {every.value} between {first:%Y-%m-%d} and "
                           f"{last:%Y-%m-%d}. Widen the range, or give one moment with --as-of.")
    return moments


def _check_tracking() -> None:
    """Another workspace's models have to be where the environment says."""
    uri = os.environ.get(TRACKING_VARIABLE)
    if uri is None:
        return
    if "://" not in uri:
        raise CommandError(f"{TRACKING_VARIABLE} is {uri!r}, which is no address. Write "
                           f"sqlite:////full/path/mlflow.db, or the address of an MLflow server.")
    file = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not file.exists():
        raise CommandError(f"{TRACKING_VARIABLE} names {file}, and there is no such file. Name the "
                           f"mlflow.db of the workspace whose models shall be used.")


def _store(place: Workspace) -> MlflowModelStore:
    if not place.root.is_dir():
        raise CommandError(f"There is no workspace {place.root}. Make one with `make run` or "
                           f"`keepwell ingest`, or name another with --workspace.")
    _check_tracking()
    from registry.mlflow_store import MlflowModelStore
    from registry.signature import signing_key

    return MlflowModelStore(place.tracking_uri, key=signing_key(os.environ))


def _who(place: Workspace, by: str | None, needs: Permission, *, is_named: bool = True) -> str:
    """Who does it: the owner of the key in KEEPWELL_KEY where there is one, else who is named."""
    from serving.api_keys import acting_as

    own = os.environ.get("KEEPWELL_KEY")
    if own:
        with _keys(place) as keys:
            return acting_as(keys, own, named=by if is_named else None, needs=needs,
                             now=datetime.now(UTC))
    if by is None or not by.strip():
        raise CommandError("--by is missing or empty. Say who decides, or set KEEPWELL_KEY to an "
                           "API key of your own; it is recorded.")
    return by


@contextmanager
def _keys(place: Workspace) -> Iterator[ApiKeys]:
    from serving.api_keys import ApiKeys
    from serving.settings import service_settings

    if not place.root.is_dir():
        raise CommandError(f"There is no workspace {place.root}. Make one with `make run`, or name "
                           f"another with --workspace.")
    with closing(ApiKeys(place.root, pepper=service_settings(os.environ).key_pepper)) as keys:
        yield keys


def _waiting(place: Workspace) -> WaitingRuns:
    from registry.signature import signing_key
    from registry.waiting_runs import WaitingRuns

    return WaitingRuns(folder=place.waiting_runs_dir, key=signing_key(os.environ))


def _promotion_evidence(
    place: Workspace, store: MlflowModelStore, label: str, version: int, capacity: int | None,
    force: bool,
) -> EvidenceDocument:
    """What speaks for a version, printed; refused where something speaks against it."""
    from training.evidence import promotion_of_version
    from training.workspace_audit import audited

    as_of = store.load(label, version).metadata.as_of
    with _step("Auditing the rows it learned from"):
        found = audited(place, label, as_of=as_of)
    decision, evidence = promotion_of_version(
        store, label, version, audited=found, capacity=capacity or place.settings.capacity)
    _print_checks(evidence)
    if decision.approved:
        return evidence
    if not force:
        raise CommandError(f"{label} version {version} was not promoted, for the reasons above. "
                           f"Nothing was changed.")
    return {**evidence, "despite_evidence": True}


def _print_checks(evidence: EvidenceDocument) -> None:
    checks = evidence.get("checks")
    for check in checks if isinstance(checks, Sequence) else ():
        if isinstance(check, Mapping):
            out.print(f"- {check['outcome']}: {check['sentence']}", highlight=False, markup=False)


def _snapshot(place: Workspace, moments: tuple[datetime, ...]) -> int:
    from features.backfill import backfill
    from features.feast_store import WorkspaceFeatures

    words = f"Computing features as of {_many(len(moments), 'moment')}"
    with place.lock(), _step(words) as progress:
        return backfill(place, moments, publish=WorkspaceFeatures(place).publish,
                        progress=progress).height


def _scores(place: Workspace, moment: datetime, file: Path, reasons: int) -> ScoresWritten:
    from serving.scores_file import write_scores

    _ensure_snapshot(place, moment)
    return write_scores(place, _store(place), moment, file, most_reasons=reasons)


def _scores_on_spark(place: Workspace, moment: datetime, master: str, file: Path, reasons: int
                     ) -> ScoresWritten:
    from features.backfill import stale
    from features.spark_engine import spark_session
    from serving.scores_file import ScoresWritten
    from serving.spark_scores import scores_on_spark

    if stale(place, (moment,)):
        _snapshot_on_spark(place, (moment,), master)
    with spark_session(master) as session:
        frame = scores_on_spark(session, place, _store(place), moment, most_reasons=reasons)
    content = io.BytesIO()
    frame.write_parquet(content)
    write_atomically(file, content.getvalue())
    return ScoresWritten.of(frame)


def _chance(place: Workspace) -> ChanceRules | None:
    """How far the workspace lets chance decide."""
    from serving.chance_rules import read_chance_rules
    from serving.settings import service_settings

    return read_chance_rules(place.root, service_settings(os.environ).lottery_key)


def _text_of(file: Path, wanted: str = "a TOML file that lists CSMs or pools with their hours"
             ) -> str:
    """The text of a file that a person wrote."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} can not be read: {error.strerror}. Name {wanted}.") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not text in UTF-8 (byte {error.start}). Save it as UTF-8 "
                           f"and try again.") from error


def _most_first(counted: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))


def _snapshot_on_spark(place: Workspace, moments: tuple[datetime, ...], master: str) -> int:
    from features.feast_store import WorkspaceFeatures
    from features.spark_engine import backfill_on_spark, spark_session

    words = f"Computing features as of {_many(len(moments), 'moment')} on Spark"
    with place.lock(), _step(words), spark_session(master) as session:
        return backfill_on_spark(session, place, moments,
                                 publish=WorkspaceFeatures(place).publish)


LOOKED_BACK_AT = (timedelta(days=28), timedelta(days=7), timedelta(0))
"""A score is shown beside those of a week ago (alerts) and of four weeks ago (the trend)."""


def _ensure_snapshot(place: Workspace, moment: datetime) -> None:
    """Make the snapshots that a score as of the moment needs, where the newest data has none."""
    from features.backfill import stale
    from features.snapshots import SnapshotError

    missing = stale(place, (moment - back for back in LOOKED_BACK_AT))
    if moment in missing:
        _snapshot(place, (moment,))
    for earlier in missing:
        if earlier != moment:
            try:
                _snapshot(place, (earlier,))
            except SnapshotError:
                continue  # nothing was known so early: the trend is unknown, and says so


def _train(place: Workspace, labels: tuple[str, ...], as_of: datetime | None, trials: int,
           seed: int, by: str | None = None, seconds: float | None = None,
           growing: Growing | None = None) -> tuple[TrainingResult, ...]:
    from features.backfill import stale
    from features.snapshots import SnapshotStore
    from training.growing import BinnedRows
    from training.workspace_training import train_on

    store = _store(place)
    there = SnapshotStore(place.snapshots_dir).moments()
    old = stale(place, there)
    if old:
        out.print(f"{len(old)} of {len(there)} snapshots were made before the newest events or "
                  f"declarations came, the first as of {old[0]:%Y-%m-%d}. To train on all that is "
                  f"known now, make them again: keepwell snapshot --from {old[0]:%Y-%m-%d} "
                  f"--to {old[-1]:%Y-%m-%d}.", style="yellow")
    named = " and ".join(labels)
    with place.lock(), _step(f"Training {named} models") as progress:
        return train_on(place, labels, store=store, as_of=_moment(place, as_of),
                        clock=lambda: datetime.now(UTC), trials=trials, seed=seed, by=by,
                        progress=progress, waiting=_waiting(place), seconds=seconds,
                        growing=growing or BinnedRows.of)


@contextmanager
def _grown_elsewhere(cluster: str | None, workers: int | None) -> Iterator[Growing | None]:
    """Where a training grows its trees, if not in this process."""
    if cluster is None and workers is None:
        yield None
        return
    from training.cluster import grown_on, joined

    with joined(cluster, workers=workers or 1) as client:
        yield grown_on(client)


DEMO_FILE = "demo.json"
"""What the demo did, so that a second run goes on from there."""


def _demo(place: Workspace, world: World, preset: Preset) -> None:
    """Every step of the main job; a workspace where it was done is used as it is."""
    began = datetime.now(UTC)
    record = _demo_record(place, world)
    if record is None:
        _demo_ingest(place, world, preset)
        last = _moment(place, None)
        first = min(_first_contract(place), last)
        moments = {*_series(first + timedelta(days=28), last, Every.MONTH),
                   *(last - back for back in LOOKED_BACK_AT)}
        _snapshot(place, tuple(sorted(moments)))
        results = _train(place, ("churn", "expansion"), None, 12, 1, by="keepwell demo")
        with _step("Estimating what interventions caused"):
            from experiments.workspace_report import report_on

            report_on(place, as_of=last, written_at=datetime.now(UTC))
        from training.metrics_table import metrics_table

        record = {"world": world.value, "trainings": [result.summary for result in results],
                  "metrics": metrics_table(results),
                  "results": [_brief(result) for result in results]}
        write_atomically(place.root / DEMO_FILE, json.dumps(record, indent=1).encode())
    else:
        out.print(f"Using what is in {place.root}; delete that folder to start afresh.")
    _demo_summary(place, record)
    out.print(f"[dim]{(datetime.now(UTC) - began).total_seconds():.0f} s in all.[/dim]")


def _demo_record(place: Workspace, world: World) -> dict[str, Any] | None:
    file = place.root / DEMO_FILE
    if not file.exists():
        return None
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if record["world"] != world.value:
        raise CommandError(f"The workspace {place.root} holds the {record['world']} world. Choose "
                           f"another folder with --workspace, or delete that one.")
    return record


def _demo_ingest(place: Workspace, world: World, preset: Preset) -> None:
    from features.ingest import ingest as ingest_files

    folder = EXAMPLES / "crm"
    if world is World.SIMULATED:
        folder = place.root / "world" / "events"
        if not (folder / "mapping.toml").exists():
            simulate(place.root / "world", preset=preset)
    with _step("Ingesting"):
        summary = ingest_files(place, [folder], folder / "mapping.toml")
    _print_summary(summary)


def _first_contract(place: Workspace) -> datetime:
    from features.lake import Lake

    first = Lake(place.events_dir, place.quarantine_dir).first_recorded()
    return first["contract.started"]


def _demo_summary(place: Workspace, record: Mapping[str, Any]) -> None:
    from features.lake import Lake
    from serving.batch import decisions_as_of

    last = _moment(place, None)
    manifest = Lake(place.events_dir, place.quarantine_dir).manifest
    with _step("Scoring every account and ranking its actions"):
        decided = decisions_as_of(place, _store(place), last)
    running = [one for one in decided if one.score.revenue_at_risk is not None]
    out.print(f"\n[bold]{manifest.events:,} events[/bold] in {manifest.rows:,} rows of "
              f"{len(decided):,} accounts, {len(running):,} of them with a running contract, as of "
              f"{last:%Y-%m-%d}.\n")
    for summary in record["trainings"]:
        out.print(summary, highlight=False, markup=False)
        out.print()
    out.print(_metrics_lines(record["results"]))
    out.print("\n[bold]Most revenue at risk[/bold]\n")
    for one in running[:5]:
        out.print(_account_lines(one), highlight=False, markup=False)


def _brief(result: TrainingResult) -> dict[str, Any]:
    """The longest horizon of a training, every contender with two metrics and their intervals."""
    from training.specs import spec_named

    horizon = max(result.metrics[result.best.name])
    shown = {
        spec_named(name).title: {metric: [interval.value, interval.low, interval.high]
                                 for metric, interval in by_horizon[horizon].items()
                                 if metric in ("log_loss", "auc")}
        for name, by_horizon in result.metrics.items()
    }
    return {"label": result.label.name, "horizon_days": horizon, "contenders": shown,
            "test": f"{result.rows['test']:,} account-months, cutoffs "
                    f"{result.split.test[0]:%Y-%m-%d} to {result.split.test[-1]:%Y-%m-%d}"}


def _metrics_lines(results: list[dict[str, Any]]) -> Table:
    """One line a contender, best log loss first, narrow enough for any terminal."""
    table = Table("on later months", "log loss (95 %)", "AUC (95 %)", box=None, pad_edge=False)
    for result in results:
        table.add_row(f"[bold]{result['label']} within {result['horizon_days']} days[/bold]",
                      f"[dim]{result['test']}[/dim]", "")
        ordered = sorted(result["contenders"].items(), key=lambda item: item[1]["log_loss"][0])
        for title, metrics in ordered:
            table.add_row(f"  {title}", *("{:.3f} ({:.3f} to {:.3f})".format(*metrics[name])
                                          for name in ("log_loss", "auc")))
    return table


def _account_lines(one: Decided) -> str:
    """One account as a person reads it: the numbers, the reasons, the next action."""
    from serving.words import money

    score, best = one.score, one.recommendation.ranked[0]
    at_90 = score.churn_at(90)
    chance = "not known" if at_90 is None else (
        f"{at_90.probability:.0%} ({at_90.low:.0%} to {at_90.high:.0%})")
    name = score.attributes.get("account_name") or score.account_id
    source = "the model" if score.source == "model" else "the health formula"
    lines = [
        f"{name}: {money(score.revenue_at_risk, score.currency)} a year at risk; likely to leave "
        f"within 90 days: {chance}, says {source}; health "
        + (f"{score.health.score:.0f} of 100." if score.health.score is not None
           else "not known."),
        *(f"   · {reason.sentence}" for reason in score.reasons.top(3)),
        f"   → {best.name}: {best.because}",
    ]
    return "\n".join(lines) + "\n"


def _print_summary(summary: IngestSummary) -> None:
    for line in summary.lines():
        out.print(line, highlight=False, markup=False)


def _fail(error: Exception, code: int, wants_traceback: bool) -> None:
    if wants_traceback:
        err.print_exception()
    elif code == FAULT:
        err.print(f"Keepwell failed: {type(error).__name__}: {error}. That is a fault of Keepwell; "
                  f"run the command again with --traceback to see where.", markup=False)
    else:
        err.print(str(error), markup=False, highlight=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
