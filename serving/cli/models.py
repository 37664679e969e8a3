"""Commands about stored models: list, show, promote, roll back."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from features.cli.options import (
    DEFAULT_WORKSPACE,
    CommandError,
    InWorkspace,
    models_address,
    out,
    time_of,
)
from features.workspace import Workspace
from registry.outcomes import MODEL_NAMES, OutcomeName
from registry.store.open_store import store_at
from serving.cli.keys import DecidedBy, who

if TYPE_CHECKING:
    from registry.promotion.promotion import EvidenceDocument
    from registry.store.mlflow import MlflowModelStore

WhichModel = Annotated[OutcomeName, typer.Argument(help="The outcome whose model is meant.")]


def list_versions(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """List every version, and which one serves."""
    store = store_of(Workspace(workspace))
    table = Table("model", "version", "run", "fingerprint", "is")
    if model is not None and model not in MODEL_NAMES:
        raise CommandError(f"There is no model {model!r}; there are {', '.join(MODEL_NAMES)}.")
    for label in MODEL_NAMES if model is None else (model,):
        for version in store.versions(label):
            table.add_row(
                label,
                str(version.version),
                version.run_name,
                version.fingerprint[:12],
                "champion"
                if version.is_champion
                else "challenger"
                if version.is_challenger
                else "",
            )
    out.print(table)


def show(
    label: WhichModel,
    version: Annotated[
        int | None, typer.Option(help="The version; the champion, by default.")
    ] = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Show what a version was trained on, its metrics, and how the champion changed."""
    store = store_of(Workspace(workspace))
    number = version or store.champion_version(label.value).version
    shown = next((v for v in store.versions(label.value) if v.version == number), None)
    bundle = store.load(label.value, number)
    out.print_json(
        json.dumps(
            {
                "model": label.value,
                "version": number,
                "run": None if shown is None else shown.run_name,
                "form": bundle.metadata.notes.get("model", type(bundle.form).__name__),
                "as_of": bundle.metadata.as_of.isoformat(),
                "horizons_days": list(bundle.horizons),
                "data_fingerprint": bundle.metadata.data_fingerprint,
                "code_version": bundle.metadata.code_version,
                "label_policy": dict(bundle.metadata.label_policy),
                "features": list(bundle.contract.names),
                "metrics": dict(bundle.metrics),
                "not_estimable": {str(days): why for days, why in bundle.not_estimable.items()},
                "history": [asdict(change) for change in store.history(label.value)],
            },
            default=str,
        )
    )


def history(label: WhichModel, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Show every change of the champion: who, when, and what each check said."""
    store = store_of(Workspace(workspace))
    history, waiting = store.history(label.value), store.pending_request(label.value)
    for change in history:
        second = f", approved by {change.approved_by}" if change.approved_by else ""
        despite = ", despite the evidence" if change.evidence.get("despite_evidence") else ""
        out.print(
            f"{change.at:%Y-%m-%d %H:%M} UTC: version {change.version} {change.how} by "
            f"{change.by}{second}{despite}",
            highlight=False,
            markup=False,
        )
        _print_checks(change.evidence)
    if not history:
        out.print(f"No version of {label.value} was ever promoted.")
    if waiting is not None:
        out.print(
            f"{waiting.at:%Y-%m-%d %H:%M} UTC: version {waiting.version} asked for by "
            f"{waiting.by}; another person has to approve it.",
            highlight=False,
            markup=False,
        )
        _print_checks(waiting.evidence)


def shadow(label: WhichModel, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Show how far challenger and champion agree, from what `keepwell score --shadow` stored."""
    from serving.scoring.shadow import ShadowFiles, summarise

    files = ShadowFiles(Workspace(workspace).shadow_dir)
    for line in summarise(label.value, files.newest(label.value)).lines():
        out.print(line, highlight=False, markup=False)


def roll_back(
    label: WhichModel,
    by: DecidedBy = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Make the previous champion serve again."""
    place = Workspace(workspace)
    store = store_of(place)
    by = who(place, by, "administer")
    with place.lock():
        change = store.rollback(label.value, by=by, at=time_of(place))
    out.print(f"{label.value} version {change.version} serves again.")


def store_of(place: Workspace) -> MlflowModelStore:
    """The models of a workspace that is there."""
    return store_at(models_address(place), os.environ)


def _print_checks(evidence: EvidenceDocument) -> None:
    from registry.promotion.promotion import check_lines

    for line in check_lines(evidence):
        out.print(line, highlight=False, markup=False)
