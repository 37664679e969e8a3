"""Make a small workspace that holds one of everything, by commands and requests alone.

    PYTHONPATH=.:tests/parity python tests/workspaces/make_workspace.py FOLDER ARCHIVE.tar.xz

Only its simulated company and ``keepwell`` itself are imported, so that a later version can make
another one to be opened by the versions after it. FOLDER becomes the workspace; choose one that no
machine uses for something else (``/srv/keepwell/small``), since Feast's registry and MLflow's
database name it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
from PIL import Image
from workspace_answers import CLOCK, LOTTERY_KEY, asked_alone, checked, command, served, standing

from experiments.simulation.settings import WorldSettings
from experiments.simulation.world import simulate

SUMMED_UP = ("error.raised", "feature.used", "usage.metered", "user.session")
"""Kinds of which two weeks are summed up in one row, so that the workspace is small."""

THINNED = (
    "sponsor.contacted",
    "nudge.sent",
    "job.retry",
    "onboarding.step_completed",
    "config.changed",
    "deployment.published",
    "consent.updated",
)
"""Kinds of which a quarter of the rows is enough."""

USE_NAMES = ("inbox", "search", "report")

MAPPING = """name = "exports"
tenant = "Small company"
currency = "EUR"
complete_until = 2026-01-01T00:00:00Z
use_names = ["inbox", "search", "report"]

[tables.{table}]
files = ["{table}*.csv"]
event_id = "event_id"
account = "account_id"
user = "user_id"
kind_column = "kind"
occurred_at = "occurred_at"
recorded_at = "recorded_at"
event_count = "event_count"
user_count = "user_count"
quantity = "quantity"
properties_column = "properties"
"""
LIMITS = """contacts_per_week = 2
quiet_hours = [19, 8]
time_zone = "Europe/Zurich"

[channel_caps]
phone = 1
"""
CHANCE = """key_id = "key-of-2026"
explore = true
last_hours = true
holdout_share = 0.1
off = ["enterprise"]
"""
TEAM = """[[csm]]
id = "csm_00"
hours = 2
[[csm]]
id = "csm_01"
hours = 1
[[pool]]
id = "service"
hours = 1
skills = ["csm", "support", "billing"]
"""


def main() -> int:
    """Make the workspace, and say what its parts came to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("archive", type=Path)
    given = parser.parse_args()
    folder: Path = given.folder
    exports = folder.with_name(f"{folder.name}-exports")
    shutil.rmtree(exports, ignore_errors=True)
    with asked_alone(), standing(CLOCK):
        os.environ["KEEPWELL_LOTTERY_KEY"] = LOTTERY_KEY
        os.environ["KEEPWELL_WEBHOOK_HOSTS"] = "hooks.example"
        write_exports(exports)
        by_command(folder, exports)
        with served(folder) as client:
            by_request(client)
        after_requests(folder, exports)
    make_pictures_small(folder)
    with tarfile.open(given.archive, "w:xz", preset=9) as archive:
        archive.add(folder, arcname="workspace", filter=nobody_s)
        archive.add(exports / "afterwards.csv", arcname="afterwards.csv", filter=nobody_s)
        archive.add(exports / "afterwards.toml", arcname="afterwards.toml", filter=nobody_s)
    shutil.rmtree(exports)
    return 0


def nobody_s(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """An entry of the archive that names no user of the machine."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def say(*words: str | Path, codes: tuple[int, ...] = (0,)) -> str:
    """Run a command that has to end with one of these codes."""
    code, text = command(*words)
    sys.stdout.write(f"keepwell {' '.join(map(str, words))}\n{text}\n")
    if code not in codes:
        raise SystemExit(f"It ended with {code}.")
    return text


def write_exports(folder: Path) -> None:
    """The simulated company as CSV: most of it, then a file with corrections and bad rows."""
    world = simulate(WorldSettings(accounts=60, months=24), np.random.default_rng(12))
    events = world.events.cast({"properties": pl.String}).filter(
        (pl.col("kind") != "feature.used")
        | pl.col("properties").str.json_path_match("$.name").is_in(USE_NAMES)
    )
    weekly = (
        events.filter(pl.col("kind").is_in(SUMMED_UP))
        .sort("occurred_at")
        .group_by(
            "account_id",
            "kind",
            pl.col("properties").str.json_path_match("$.name").alias("name"),
            pl.col("occurred_at").dt.truncate("2w").alias("week"),
            maintain_order=True,
        )
        .agg(
            pl.all().exclude("event_count", "user_count", "quantity").last(),
            pl.col("event_count", "quantity").sum(),
            pl.col("user_count").max(),
        )
    )
    weekly = weekly.with_columns(
        pl.when(pl.col("kind").is_in(["user.session", "usage.metered"])).then("quantity")
    ).select(events.columns)
    rows = pl.concat([events.filter(~pl.col("kind").is_in(SUMMED_UP)), weekly]).sort(
        "recorded_at", "event_id"
    )
    rows = rows.filter(~pl.col("kind").is_in(THINNED) | (pl.int_range(pl.len()) % 4 == 0))
    rows = rows.with_columns(pl.col("occurred_at", "recorded_at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    folder.mkdir(parents=True)
    cut = rows.height * 9 // 10
    rows[:cut].write_csv(folder / "first.csv")
    used = rows[:cut].filter(pl.col("kind") == "feature.used").tail(40)
    corrected = used.with_columns(
        pl.col("event_count") * 2, recorded_at=pl.lit("2025-12-20T00:00:00Z")
    )
    bad = used.head(3).with_columns(
        event_id=pl.Series(["bad-1", "bad-2", "bad-3"]),
        occurred_at=pl.Series(["yesterday", "", "2024-13-01"]),
    )
    pl.concat([rows[cut:], corrected, bad]).write_csv(folder / "later.csv")
    extra = (
        rows[:cut]
        .filter(pl.col("kind") == "ticket.created")
        .tail(5)
        .with_columns(
            event_id=pl.Series([f"afterwards-{number}" for number in range(5)]),
            occurred_at=pl.lit("2025-12-29T10:00:00Z"),
            recorded_at=pl.lit("2025-12-29T10:00:05Z"),
        )
    )
    extra.write_csv(folder / "afterwards.csv")
    for table in ("first", "later", "afterwards"):
        (folder / f"{table}.toml").write_text(MAPPING.format(table=table), encoding="utf-8")


def by_command(folder: Path, exports: Path) -> None:
    """The data, the models and the settings."""
    here = ("--workspace", folder)
    for table in ("first", "later"):
        say("ingest", exports / f"{table}.csv", "--mapping", exports / f"{table}.toml", *here)
    say("snapshot", "--from", "2024-02-01", "--to", "2026-01-01", "--every", "month", *here)
    say("train", "churn", "--trials", "2", *here)
    with without("logistic"):
        say("train", "expansion", "--trials", "2", *here)
    for label in ("churn", "expansion"):
        say("models", "promote", label, "1", "--by", "ann", "--despite-evidence", *here)
    say("train", "churn", "--trials", "2", "--seed", "2", "--as-of", "2025-12-01", *here)
    say("train", "expansion", "--trials", "0", "--as-of", "2025-12-01", *here)
    say("score", "--shadow", "--out", exports / "scores.parquet", *here)
    say("effects", *here)
    say("report", *here)
    say("monitor", *here, codes=(0, 1))
    (folder / "limits.toml").write_text(LIMITS, encoding="utf-8")
    (folder / "chance.toml").write_text(CHANCE, encoding="utf-8")


@contextlib.contextmanager
def without(name: str) -> Iterator[None]:
    """Leave a contender out of the contest: there have to be trees in the workspace, too."""
    with contextlib.ExitStack() as stack:
        for module in [
            module
            for path, module in sys.modules.items()
            if path.startswith("training.") and hasattr(module, "SPECS")
        ]:
            specs = tuple(spec for spec in module.SPECS if spec.name != name)
            stack.enter_context(patch.object(module, "SPECS", specs))
        yield


def by_request(client: Any) -> None:
    """Decisions and all that can become of one."""
    keys = iter(range(1000))

    def post(address: str, **body: Any) -> Any:
        return checked(
            client.post(address, json=body, headers={"idempotency-key": f"made-{next(keys)}"})
        )

    items = post("/v1/next-actions", limit=24, actions_per_account=5)["items"]
    wanted = [row for row in items if row["action"] != "do_nothing"]
    sys.stdout.write(
        f"{len(items)} decisions, {len(wanted)} to do something: "
        f"{[(row['action'], row['autonomy']) for row in wanted]}\n"
    )
    for number, row in enumerate(wanted):
        here = f"/v1/decisions/{row['decision_id']}"
        if number % 6 < 4 and row["autonomy"] in (2, 3):
            post(f"{here}/approvals", verdict="approved", by="ben")
        answer = client.post(
            f"{here}/claims",
            json={"by": "mailer", "lease_seconds": 600},
            headers={"idempotency-key": f"claim-{number}"},
        )
        claim = answer.json().get("claim_id")
        sys.stdout.write(
            f"{row['action']} {row['autonomy']}: {answer.status_code} "
            f"{answer.json().get('detail', '')}\n"
        )
        match number % 6:
            case 0 if claim:
                post(f"/v1/claims/{claim}/complete", by="mailer")
                post(f"{here}/outcomes", kind="outcome", result="renewed", by="ann")
            case 1 if claim:
                post(f"/v1/claims/{claim}/heartbeat", by="mailer", lease_seconds=900)
                post(f"/v1/claims/{claim}/fail", by="mailer", reason="No such address")
            case 3:
                post(
                    f"{here}/feedback", verdict="disagree", reason="They asked for peace", by="cyd"
                )
            case 4:
                post(
                    f"{here}/feedback",
                    verdict="snooze",
                    reason="After their summer break",
                    snooze_until=(CLOCK + timedelta(days=300)).isoformat(),
                    by="cyd",
                )
            case 5:
                post(f"{here}/outcomes", kind="declined", reason="Already in talks", by="ann")
    post(f"/v1/decisions/{wanted[0]['decision_id']}/feedback", verdict="agree", by="cyd")
    waiting = next(row for row in wanted[4:] if row["autonomy"] in (2, 3))
    post(
        f"/v1/decisions/{waiting['decision_id']}/approvals",
        verdict="rejected",
        by="ben",
        reason="Not this quarter",
    )
    post("/v1/controls/stop", action="one_to_one_call", reason="No callers", by="ann")
    post("/v1/controls/resume", action="one_to_one_call", reason="Callers are back", by="ann")
    post("/v1/controls/stop", action="sponsor_touch", reason="On leave", by="ann")
    post("/v1/controls/levels", action="unused_tutorials", level=1, reason="New text", by="ann")
    post("/v1/controls/capacities", action="dunning", most_a_week=5, reason="One writer", by="ann")
    post(
        "/v1/events",
        events=[
            {
                "event_id": f"sent-{number}",
                "account_id": row["account_id"],
                "kind": "ticket.created",
                "occurred_at": f"2025-12-30T1{number}:00:00Z",
                "quantity": 2.0,
                "properties": {"ticket_id": f"sent-{number}", "topic": "billing"},
            }
            for number, row in enumerate(items[:3])
        ],
    )


def after_requests(folder: Path, exports: Path) -> None:
    """A plan, keys, a webhook; the ledger is whole."""
    here = ("--workspace", folder)
    (exports / "team.toml").write_text(TEAM, encoding="utf-8")
    say("plan", exports / "team.toml", "--out", exports / "plan.json", *here)
    say("feedback", *here)
    say("keys", "create", "laptop", "--owner", "ann", "--role", "admin", "--days", "0", *here)
    say("keys", "create", "phone", "--owner", "csm_00", "--role", "csm", "--days", "0", *here)
    say("webhooks", "add", "https://hooks.example/keepwell", "--name", "crm", "--from-start", *here)
    say("ledger", "verify", *here)
    say("webhooks", "list", *here)
    say("models", "list", *here)


def make_pictures_small(folder: Path) -> None:
    """Pictures an eighth as wide: nobody looks at these."""
    for file in folder.rglob("*.png"):
        with Image.open(file) as picture:
            small = picture.convert("L").resize((picture.width // 8, picture.height // 8))
        small.quantize(4).save(file, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
