"""The command ``keepwell``: from telemetry to scores, actions and reports.

A thin rim: every package declares its own commands, and here they are listed, with those that need
two packages of which neither may import the other. Heavy libraries are imported by the command that
needs them. What the exit codes mean: ``features/cli/options.py``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

# nothing leaves the machine; both are read when MLflow is imported
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

import typer

from experiments.cli.commands import effects, report
from experiments.cli.estimate import estimate
from experiments.simulation.cli import Preset, simulate
from features.cli.commands import (
    Every,
    consume,
    features,
    ingest,
    moments_between,
    print_summary,
    snapshot,
    take_snapshots,
)
from features.cli.init import init
from features.cli.log_lines import write_log_lines
from features.cli.options import (
    DEFAULT_WORKSPACE,
    AnyWorkspace,
    AsOf,
    CommandError,
    InWorkspace,
    moment_of,
    out,
    run,
    show_progress,
    time_of,
)
from features.format_version import newer_format
from features.version import code_version
from features.workspace import Workspace
from features.workspace_files import OTHERS, write_atomically
from registry.outcomes import CHURN, EXPANSION
from registry.playbook.prices import PRICES_FILE
from serving.cli import keys, ledger, models, webhooks
from serving.cli.company import health, rules
from serving.cli.data_protection import erase, export, retention
from serving.cli.data_protection.backup import backup, restore
from serving.cli.feedback import load_judgements, show_judged
from serving.cli.keys import DecidedBy, who
from serving.cli.kill_switch import resume, stop
from serving.cli.models import WhichModel, store_of
from serving.cli.next_actions import account_lines, actions, plan
from serving.cli.policies import evaluate_policy
from serving.cli.scores import LOOKED_BACK_AT, score
from serving.cli.service import clock, conformance, serve
from serving.cli.whom_to_act_on import whom_to_act_on
from training.cli.check import check
from training.cli.commands import (
    audit,
    backtest,
    judge,
    monitor,
    promotion_evidence,
    train,
    train_models,
    upload,
)
from training.cli.health import propose as propose_health

EXAMPLES = Path(__file__).parent / "examples"
DEMO_FILE, DEMO_FORMAT = "demo.json", 1
"""What the demo did, so that a second run goes on from there, and the version of its form."""

Commands = Mapping[str, Callable[..., None]]


def promote(
    label: WhichModel,
    version: Annotated[int, typer.Argument(help="The version to serve.")],
    by: DecidedBy = None,
    approve: Annotated[
        bool,
        typer.Option(
            "--approve",
            help="Approve what another person asked for, where the workspace wants two.",
        ),
    ] = False,
    capacity: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Accounts that the team looks after at a cutoff, for the revenue captured; "
            "the workspace's, by default.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--despite-evidence",
            help="Promote although the evidence speaks against it; that is recorded too.",
        ),
    ] = False,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Make a version the champion, on the evidence of its own test rows and an audit for leaks.

    With `second_person = true` in workspace.toml it waits until another person approves it.
    """
    from registry.store.approval import check_approval

    place = Workspace(workspace)
    store, name = store_of(place), label.value
    by = who(place, by, "approve" if approve else "administer")
    with place.lock():
        if approve:
            request = check_approval(
                store.pending_request(name), label=name, version=version, by=by
            )
            store.promote(
                name,
                version,
                evidence=request.evidence,
                by=request.by,
                approved_by=by,
                at=time_of(place),
                known_changes=request.changes,
            )
            out.print(
                f"{name} version {version} serves now, asked for by {request.by} and "
                f"approved by {by}.",
                highlight=False,
                markup=False,
            )
            return
        known = len(store.history(name))
        evidence = promotion_evidence(place, store, name, version, capacity, force)
        if place.settings.second_person:
            store.request_promotion(name, version, evidence=evidence, by=by, at=time_of(place))
            out.print(
                f"Asked for by {by}. It serves as soon as another person approves: keepwell "
                f"models promote {name} {version} --by NAME --approve",
                highlight=False,
                markup=False,
            )
            return
        store.promote(
            name, version, evidence=evidence, by=by, at=time_of(place), known_changes=known
        )
    out.print(f"{name} version {version} serves now.")


def feedback(
    by_action: Annotated[bool, typer.Option("--by-action", help="Each action on its own.")] = False,
    file: Annotated[Path | None, typer.Option("--out", help="A JSON file to write.")] = None,
    as_of: AsOf = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Judge what people said to recommendations: who left of those they disagreed about?

    Counts the newest thing that was said to each action of a decision, and sets those who left
    within 90 days beside those whom the model expected to leave, each account once in 90 days. It
    is what followed, not what was caused.
    """
    import polars as pl

    from features.lake.lake import Lake
    from serving.recommendations.feedback_evaluation import evaluate_feedback, with_leavers
    from serving.scoring.score import TIER_HORIZON_DAYS
    from training.dataset.labels import label_in
    from training.dataset.outcome_lookup import look_up_outcomes

    place = Workspace(workspace)
    moment, label = moment_of(place, as_of), label_in(place.settings, CHURN.name)
    judged = load_judgements(place, moment)
    events = (
        Lake(place.events_dir, place.quarantine_dir)
        .versions_before(moment)
        .filter(pl.col("kind").is_in(label.reads))
        .collect()
    )
    horizon = TIER_HORIZON_DAYS if TIER_HORIZON_DAYS in label.horizons else label.horizons[-1]
    left = look_up_outcomes(
        label,
        horizon,
        ((one.account_id, one.as_of) for one in judged),
        events,
        known_until=moment,
    )
    show_judged(
        evaluate_feedback(with_leavers(judged, left), by_action=by_action),
        as_of=moment,
        by_action=by_action,
        file=file,
    )


def write_metrics(
    page: Annotated[
        Path,
        typer.Option(
            "--page",
            "--readme",
            help="A Markdown file with <!-- metrics --> and <!-- /metrics --> to write between.",
        ),
    ],
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Write the metrics of the demo's models, beside their baselines, into a document."""
    file = Workspace(workspace).root / DEMO_FILE
    text = page.read_text(encoding="utf-8")
    opening, ending = "<!-- metrics -->", "<!-- /metrics -->"
    if not file.exists() or opening not in text or ending not in text:
        raise CommandError(
            f"That needs a workspace where `keepwell demo` has run ({workspace}) "
            f"and a document with {opening} and {ending} ({page})."
        )
    before, rest = text.split(opening)
    record = _read_demo(file)
    write_atomically(
        page,
        (
            before + opening + "\n" + record["metrics"] + "\n" + ending + rest.split(ending)[1]
        ).encode(),
    )
    out.print(f"{page} holds the metrics of {file}.")


class World(StrEnum):
    """The samples of ``keepwell demo``."""

    CRM = "crm"
    SIMULATED = "simulated"


def demo(
    world: Annotated[
        World, typer.Option(help="The CRM sample, or a simulated company.")
    ] = World.CRM,
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
    serving: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve at the end.")] = True,
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    preset: Annotated[Preset, typer.Option(help="Size of the simulated world.")] = Preset.STANDARD,
) -> None:
    """Do the whole job on a sample: ingest, snapshot, train, promote, score, report, serve."""
    place = Workspace(workspace)
    _demo(place, world, preset)
    if serving:
        address = f"http://127.0.0.1:{port}"
        out.print(
            f"\nOpen [bold]{address}[/bold] for the portfolio, {address}/models for the "
            f"evidence, {address}/docs for the API. Stop with Ctrl-C.",
            markup=True,
        )
        serve(port=port, workspace=workspace)


COMMANDS: Commands = {
    "simulate": simulate,
    "init": init,
    "ingest": ingest,
    "check": check,
    "consume": consume,
    "snapshot": snapshot,
    "features": features,
    "train": train,
    "backtest": backtest,
    "audit": audit,
    "judge": judge,
    "monitor": monitor,
    "stop": stop,
    "resume": resume,
    "score": score,
    "actions": actions,
    "plan": plan,
    "feedback": feedback,
    "evaluate-policy": evaluate_policy,
    "effects": effects,
    "estimate": estimate,
    "whom-to-act-on": whom_to_act_on,
    "report": report,
    "conformance": conformance,
    "serve": serve,
    "clock": clock,
    "backup": backup,
    "restore": restore,
    "demo": demo,
}
GROUPS: Mapping[str, tuple[str, Commands]] = {
    "models": (
        "List, show, promote and roll back models.",
        {
            "list": models.list_versions,
            "show": models.show,
            "promote": promote,
            "history": models.history,
            "upload": upload,
            "shadow": models.shadow,
            "metrics": write_metrics,
            "rollback": models.roll_back,
        },
    ),
    "health": (
        "Propose a health formula from your own churn, and adopt it.",
        {
            "propose": propose_health,
            "adopt": health.adopt,
        },
    ),
    "rules": (
        "Your own warning signs, actions and sequences: check them, and see what they would have done.",
        {"check": rules.check, "preview": rules.preview},
    ),
    "ledger": (
        "Whether the ledger of decisions is as it was written.",
        {
            "verify": ledger.verify,
            "accept-head": ledger.accept_head,
            "replay": ledger.replay,
        },
    ),
    "webhooks": (
        "Tell other programs what was decided and what came of it.",
        {
            "add": webhooks.add,
            "list": webhooks.list_webhooks,
            "remove": webhooks.remove,
            "rotate": webhooks.rotate,
            "replay": webhooks.replay,
        },
    ),
    "retention": (
        "Keep data for a stated time, and remove what is older.",
        {"run": retention.run},
    ),
    "erase": (
        "Forget an account or a person everywhere, or hold them.",
        {
            "account": erase.erase_account,
            "person": erase.erase_person,
            "approve": erase.approve,
            "resume": erase.resume,
            "hold": erase.hold,
            "holds": erase.holds,
            "release": erase.release,
            "allow": erase.allow,
        },
    ),
    "export": (
        "Write down everything that is held about an account or a person.",
        {
            "account": export.export_account,
            "person": export.export_person,
        },
    ),
    "keys": (
        "Make, list, change and end the API keys of a workspace.",
        {
            "create": keys.create,
            "list": keys.list_keys,
            "rotate": keys.rotate,
            "revoke": keys.revoke,
            "review": keys.review,
        },
    ),
}


def joined(whole: typer.Typer, commands: Commands) -> typer.Typer:
    """The command line with these commands, in this order."""
    for name, command in commands.items():
        whole.command(name)(command)
    return whole


app = joined(
    typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    ),
    COMMANDS,
)
for name, (about, commands) in GROUPS.items():
    app.add_typer(joined(typer.Typer(help=about, no_args_is_help=True), commands), name=name)


def print_version(asked: bool) -> None:
    """Print the version and end, where it is asked for."""
    if asked:
        out.print(code_version())
        raise typer.Exit


@app.callback()
def whole(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Which accounts are likely to leave or to grow, what to do next, and whether it worked."""


def main() -> None:
    """Run the command; an error becomes one readable paragraph and an exit code."""
    os.umask(OTHERS)  # what a command writes, its owner alone reads
    write_log_lines()
    run(app)


def _demo(place: Workspace, world: World, preset: Preset) -> None:
    """Every step of the main job; a workspace where it was done is used as it is."""
    began = datetime.now(UTC)
    record = _demo_record(place, world)
    if record is None:
        _demo_ingest(place, world, preset)
        last = moment_of(place, None)
        first = min(_first_contract(place), last)
        moments = {
            *moments_between(first + timedelta(days=28), last, Every.MONTH),
            *(last - back for back in LOOKED_BACK_AT),
        }
        take_snapshots(place, tuple(sorted(moments)))
        results = train_models(place, (CHURN.name, EXPANSION.name), None, 12, 1, by="keepwell demo")
        with show_progress("Measuring effects for the ranking"):
            from experiments.uplift.workspace import write_effects

            write_effects(place, as_of=last)
        with show_progress("Estimating what interventions caused"):
            from experiments.report.workspace import write_workspace_report

            write_workspace_report(place, as_of=last, written_at=time_of(place))
        from training.pipeline.record.tables import brief_of, metrics_table

        record = {
            "format": DEMO_FORMAT,
            "world": world.value,
            "trainings": [result.summary for result in results],
            "metrics": metrics_table(results),
            "results": [brief_of(result) for result in results],
        }
        write_atomically(place.root / DEMO_FILE, json.dumps(record, indent=1).encode())
    else:
        out.print(f"Using what is in {place.root}; delete that folder to start afresh.")
    _demo_summary(place, record)
    out.print(f"{(datetime.now(UTC) - began).total_seconds():.0f} s in all.", style="dim")


def _demo_record(place: Workspace, world: World) -> dict[str, Any] | None:
    file = place.root / DEMO_FILE
    if not file.exists():
        return None
    record = _read_demo(file)
    if record["world"] != world.value:
        raise CommandError(
            f"The workspace {place.root} holds the {record['world']} world. Choose "
            f"another folder with --workspace, or delete that one."
        )
    return record


def _read_demo(file: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    newer = newer_format(record.get("format"), newest=DEMO_FORMAT, what=DEMO_FILE)
    if newer is not None:
        raise CommandError(newer)
    return record


def _demo_ingest(place: Workspace, world: World, preset: Preset) -> None:
    from features.ingest.run import ingest as ingest_files

    folder = EXAMPLES / "crm"
    if world is World.SIMULATED:
        folder = place.root / "world" / "events"
        if not (folder / "mapping.toml").exists():
            simulate(place.root / "world", preset=preset)
    with show_progress("Ingesting"):
        summary = ingest_files(place, [folder], folder / "mapping.toml")
    print_summary(summary)
    if (folder / PRICES_FILE).exists() and not (place.root / PRICES_FILE).exists():
        shutil.copyfile(folder / PRICES_FILE, place.root / PRICES_FILE)


def _first_contract(place: Workspace) -> datetime:
    from features.lake.lake import Lake

    first = Lake(place.events_dir, place.quarantine_dir).first_recorded()
    return first["contract.started"]


def _demo_summary(place: Workspace, record: Mapping[str, Any]) -> None:
    from features.lake.lake import Lake
    from serving.recommendations.snapshot import decisions_as_of
    from training.pipeline.record.summary import brief_table

    last = moment_of(place, None)
    manifest = Lake(place.events_dir, place.quarantine_dir).manifest
    with show_progress("Scoring every account and ranking its actions"):
        decided = decisions_as_of(place, store_of(place), last)
    running = [one for one in decided if one.score.revenue_at_risk is not None]
    out.print(
        f"\n[bold]{manifest.events:,} events[/bold] in {manifest.rows:,} rows of "
        f"{len(decided):,} accounts, {len(running):,} of them with a running contract, as of "
        f"{last:%Y-%m-%d}.\n",
        markup=True,
    )
    for summary in record["trainings"]:
        out.print(summary, highlight=False, markup=False)
        out.print()
    out.print(brief_table(record["results"]))
    out.print("\nMost revenue at risk\n", style="bold")
    for one in running[:5]:
        out.print(account_lines(one), highlight=False, markup=False)


if __name__ == "__main__":
    main()
