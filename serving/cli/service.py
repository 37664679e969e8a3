"""Commands that start the service, and test a running one."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from features.cli.options import (
    DEFAULT_WORKSPACE,
    FOUND,
    CommandError,
    InWorkspace,
    out,
    show_progress,
    steady_clock,
)
from features.workspace import Workspace
from features.workspace_files import write_atomically
from serving.cli.data_protection.retention import nightly
from serving.cli.data_protection.run_erasure import apply_pending_erasures, finish_interrupted
from serving.cli.models import store_of


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that share the workspace and the port.")
    ] = 1,
) -> None:
    """Serve scores, reasons, next actions and the pages."""
    from serving.data_protection.pending_erasures import refuse_pending_erasures
    from serving.http.server.workers import (
        ListenError,
        Supervisor,
        command_of_worker,
        place_of_worker,
        socket_of,
        socket_of_worker,
    )

    own = place_of_worker()
    try:
        bound = socket_of(host, port) if own is None else socket_of_worker(own)
    except ListenError as error:
        raise CommandError(str(error)) from error
    if own is None:
        finish_interrupted(Workspace(workspace))
        apply_pending_erasures(Workspace(workspace))
        refuse_pending_erasures(Workspace(workspace))
    if own is None and workers > 1:
        raise typer.Exit(Supervisor(bound, workers, command_of_worker()).run())
    place = Workspace(workspace)

    from features.garbage_collection import freeze_loaded_objects
    from features.streaming.refresh import clock_of
    from serving.api.app import create_app
    from serving.http.server.running import serve_until_signal
    from serving.http.shared_metrics import SharedMetrics
    from serving.settings import service_settings

    steady = steady_clock(place)
    steady.note()
    application = create_app(
        place,
        store=store_of(place),
        settings=service_settings(os.environ),
        now=lambda: clock_of(place, steady),
        wall_clock=steady,
        housekeeping=nightly(place, steady),
        scores_first=own is not None,  # a worker is let in once it can answer
    )
    if own is not None:
        application.state.service.metrics.shared = SharedMetrics(Path(own.folder), own.number)
    freeze_loaded_objects()
    serve_until_signal(
        application,
        bound,
        early=application.state.early_refusal,
        ready_file=None if own is None else own.ready_file,
    )


def clock(
    accept: Annotated[
        bool, typer.Option("--accept", help="Go by the clock of this machine from now on.")
    ] = False,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Compare the clock of this machine with the time that leases, keys and deadlines go by.

    Ends with 1 where the clock has jumped. A service that runs follows an accepted clock within
    seconds.
    """
    steady = steady_clock(Workspace(workspace))
    if accept:
        out.print(f"The clock was accepted; time is {steady.accept():%Y-%m-%d %H:%M:%S} UTC now.")
        return
    now, ahead = steady(), steady.ahead
    out.print(
        f"Time is {now:%Y-%m-%d %H:%M:%S} UTC; the clock says {now + ahead:%Y-%m-%d %H:%M:%S}."
    )
    if steady.problem is not None:
        out.print(steady.problem)
        raise typer.Exit(FOUND)


def conformance(
    url: Annotated[
        str, typer.Argument(help="Address of a running Keepwell, such as http://127.0.0.1:8000.")
    ],
    writes: Annotated[
        bool,
        typer.Option(
            "--writes",
            help="Agree that the test claims decisions there and reports them as carried out.",
        ),
    ] = False,
    file: Annotated[Path | None, typer.Option("--out", help="A JSON file to write.")] = None,
) -> None:
    """Play a playbook engine that crashes, repeats and comes late, against a running Keepwell.

    It claims about a dozen decisions, approves them where that is needed, and says that they were
    carried out: use a service whose decisions nobody needs. The key comes from KEEPWELL_API_KEY.
    Ends with 1 where a promise was broken.
    """
    from serving.cli.conformance.api_client import calls_to
    from serving.cli.conformance.conformance import play

    if not writes:
        raise CommandError(
            "This claims decisions at that address and says that they were carried "
            "out, which stays in its ledger. For a service whose decisions nobody "
            "needs, say so with --writes."
        )
    calls = calls_to(url, os.environ.get("KEEPWELL_API_KEY"))
    with show_progress(f"Playing against {calls.url.netloc}"):
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
