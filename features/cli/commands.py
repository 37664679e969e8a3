"""The commands of this package: ingest events, compute features as of a moment."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from features.cli.options import (
    DEFAULT_WORKSPACE,
    AnyWorkspace,
    AsOf,
    CommandError,
    InWorkspace,
    moment_of,
    out,
    plural,
    show_progress,
    start_of_day,
    steady_clock,
)
from features.workspace import Workspace

if TYPE_CHECKING:
    from features.lake.summary import IngestSummary


class Engine(StrEnum):
    """Where features are computed: in this process, or on a Spark cluster."""

    LOCAL = "local"
    SPARK = "spark"


OnEngine = Annotated[
    Engine,
    typer.Option(
        help="What computes: this process, or Spark (the extra keepwell\\[spark], and Java 17)."
    ),
]
Master = Annotated[
    str,
    typer.Option(
        help="For the engine spark: local[2], or the address of a cluster that sees the workspace "
        "under the same path.",
        envvar="SPARK_MASTER",
    ),
]


class Every(StrEnum):
    """The distance between the moments of a backfill."""

    MONTH = "month"
    WEEK = "week"


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of files.")],
    mapping: Annotated[
        Path | None,
        typer.Option(
            help="The TOML file that says which column is what; .jsonl files of events need none."
        ),
    ] = None,
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Read source files onto the timeline. The same file twice changes nothing."""
    from features.ingest.run import ingest as ingest_files

    with show_progress("Ingesting"):
        summary = ingest_files(Workspace(workspace), paths, mapping)
    print_summary(summary)


def consume(
    bootstrap: Annotated[str, typer.Option(help="Brokers, as HOST:PORT separated by commas.")],
    topic: Annotated[str, typer.Option(help="The topic; a message is one event as JSON.")],
    group: Annotated[str, typer.Option(help="The consumer group, whose offsets are kept.")],
    option: Annotated[
        list[str] | None,
        typer.Option(help="Another setting of Kafka's client, such as security.protocol=SASL_SSL."),
    ] = None,
    options_from: Annotated[
        Path | None,
        typer.Option(help="A file with such settings, one a line; secrets belong there."),
    ] = None,
    until_idle: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Stop after so long without a message; never, by default.",
        ),
    ] = None,
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Read events from Kafka onto the timeline, and keep the features of their accounts fresh.

    Every message counts once, whatever is killed when: how far the topic was read is stored with
    the events. Stop with Ctrl-C, and start again to go on.
    """
    from features.lake.lake import Lake
    from features.store.feast import WorkspaceFeatures
    from features.streaming.consumer import consume as consume_stream
    from features.streaming.kafka import KafkaTopic
    from features.streaming.offsets import StreamSummary, read_offsets
    from features.streaming.refresh import AccountRefresh, clock_of

    place = Workspace(workspace)
    lake, clock = Lake(place.events_dir, place.quarantine_dir), steady_clock(place)
    touched, publish = AccountRefresh(place), WorkspaceFeatures(place).publish
    lines = options_from.read_text(encoding="utf-8").splitlines() if options_from else []
    stream = KafkaTopic(
        bootstrap,
        topic,
        group,
        offsets=lambda: read_offsets(lake, group),
        options=_client_settings([*lines, *(option or [])]),
    )
    total = StreamSummary()

    def count(summary: StreamSummary) -> None:
        nonlocal total
        total += summary
        clock.note()

    try:
        consume_stream(
            stream,
            lake,
            group=group,
            now=lambda: place.settings.clock or clock(),
            bounds=lambda: place.settings.bounds,
            on_batch=count,
            idle_seconds=until_idle,
            on_caught_up=lambda: touched.catch_up(moment=clock_of(place, clock), publish=publish),
        )
    except KeyboardInterrupt:
        pass
    finally:
        stream.close()
        touched.close()
        out.print(total.line(), highlight=False)


def snapshot(
    as_of: AsOf = None,
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First moment of a series."),
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last moment of a series.")
    ] = None,
    every: Annotated[Every, typer.Option(help="Step of the series.")] = Every.MONTH,
    engine: OnEngine = Engine.LOCAL,
    master: Master = "local[*]",
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Compute every feature of every account as of a moment, or of a series of moments."""
    place = Workspace(workspace)
    if (first is None) != (last is None) or (first is not None and as_of is not None):
        raise CommandError(
            "Give --as-of DATE for one moment, or --from DATE --to DATE for a series of them."
        )
    if first is not None and last is not None:
        moments = moments_between(start_of_day(first), start_of_day(last), every)
    else:
        moments = (moment_of(place, as_of),)
    rows = (
        take_snapshots(place, moments)
        if engine is Engine.LOCAL
        else take_snapshots_on_spark(place, moments, master)
    )
    out.print(
        f"{plural(rows, 'snapshot')} as of {plural(len(moments), 'moment')} in {place.snapshots_dir}."
    )


def features(
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the catalogue: every feature, its window, its unit and what it says."""

    declared = Workspace(workspace).settings.catalogue.features
    if as_json:
        rows = [
            {
                "name": f.name,
                "theme": f.theme,
                "unit": f.unit,
                "role": f.role,
                "direction": f.direction,
                "description": f.description,
                "digest": f.digest,
            }
            for f in declared
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table("feature", "theme", "unit", "role", "what it is")
    for f in declared:
        table.add_row(f.name, f.theme, f.unit, f.role, f.description)
    out.print(table)
    out.print(f"{len(declared)} features.")


def moments_between(first: datetime, last: datetime, every: Every) -> tuple[datetime, ...]:
    """The moments of a series, both ends included; an error where there is none."""
    from features.compute.backfill import month_starts

    if every is Every.MONTH:
        moments = month_starts(first, last)
    else:
        moments = tuple(
            first + timedelta(weeks=week)
            for week in range((last - first) // timedelta(weeks=1) + 1)
        )
    if not moments:
        raise CommandError(
            f"There is no start of a {every.value} between {first:%Y-%m-%d} and "
            f"{last:%Y-%m-%d}. Widen the range, or give one moment with --as-of."
        )
    return moments


def take_snapshots(place: Workspace, moments: tuple[datetime, ...]) -> int:
    """Compute and publish the snapshots of these moments; return the number of rows."""
    from features.compute.backfill import backfill
    from features.store.feast import WorkspaceFeatures

    words = f"Computing features as of {plural(len(moments), 'moment')}"
    with place.lock(), show_progress(words) as progress:
        return backfill(
            place, moments, publish=WorkspaceFeatures(place).publish, progress=progress
        ).height


def take_snapshots_on_spark(place: Workspace, moments: tuple[datetime, ...], master: str) -> int:
    """``take_snapshots`` on Spark."""
    from features.compute.spark import backfill_on_spark, spark_session
    from features.store.feast import WorkspaceFeatures

    words = f"Computing features as of {plural(len(moments), 'moment')} on Spark"
    with place.lock(), show_progress(words), spark_session(master) as session:
        return backfill_on_spark(session, place, moments, publish=WorkspaceFeatures(place).publish)


def print_summary(summary: IngestSummary) -> None:
    """Print how many rows landed, and what happened to the others."""
    for line in summary.lines():
        out.print(line, highlight=False, markup=False)


def _client_settings(lines: list[str]) -> dict[str, str]:
    settings = {}
    for line in (line.strip() for line in lines):
        name, is_set, value = line.partition("=")
        if not is_set and line and not line.startswith("#"):
            raise CommandError(
                f"{line!r} is no setting of Kafka's client. Write it as NAME=VALUE, "
                f"such as security.protocol=SASL_SSL."
            )
        if is_set and not line.startswith("#"):
            settings[name.strip()] = value.strip()
    return settings
