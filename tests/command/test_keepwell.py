"""The command answers bad input with one readable paragraph and an exit code, and loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from keepwell_command import run_keepwell

ROOT = Path(__file__).parents[2]


def keepwell(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command as a person starts it, in a wide terminal without colour."""
    return run_keepwell(*words, cwd=cwd)


def one_paragraph(text: str) -> str:
    assert "Traceback" not in text
    assert text.strip()
    return " ".join(text.split())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "use.csv").write_text(
        "id,company,at,what\n1,acme,2024-01-05T10:00:00Z,search\n2,acme,yesterday,search\n",
        encoding="utf-8",
    )
    (folder / "mapping.toml").write_text(
        'name = "test"\nzone = "UTC"\ncomplete_until = 2024-03-01T00:00:00Z\n'
        '[tables.use]\nfiles = ["use.csv"]\nkind = "feature.used"\nevent_id = "id"\n'
        'account = "company"\noccurred_at = "at"\nrecorded_delay = "0d"\n'
        'properties = { name = { column = "what" } }\n',
        encoding="utf-8",
    )
    return folder


def test_alone_it_lists_its_commands(tmp_path: Path) -> None:
    done = keepwell("--help", cwd=tmp_path)
    assert done.returncode == 0
    for command in (
        "simulate",
        "ingest",
        "snapshot",
        "features",
        "train",
        "models",
        "monitor",
        "score",
        "actions",
        "report",
        "serve",
        "demo",
    ):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("train", "keepwell[dask]"),
        ("snapshot", "keepwell[spark]"),
        ("score", "keepwell[spark]"),
    ],
)
def test_help_names_the_extra_to_install(tmp_path: Path, command: str, extra: str) -> None:
    said = keepwell(command, "--help", cwd=tmp_path).stdout
    assert extra in said
    assert "\\[" not in said


def test_the_catalogue_can_be_read_by_programs(tmp_path: Path) -> None:
    done = keepwell("features", "--json", cwd=tmp_path)
    assert done.returncode == 0
    rows = json.loads(done.stdout)
    assert len(rows) >= 60
    assert {"name", "theme", "unit", "role", "description", "digest"} <= set(rows[0])


def test_good_rows_land_and_bad_rows_are_counted(source: Path, tmp_path: Path) -> None:
    done = keepwell(
        "ingest",
        str(source),
        "--mapping",
        str(source / "mapping.toml"),
        "--workspace",
        "ws",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "1 landed" in done.stdout
    assert "1 landed + 1 quarantined" in done.stdout
    done = keepwell("snapshot", "--as-of", "2024-02-01", "--workspace", "ws", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "ws" / "snapshots").glob("*.parquet")
    assert pl.read_parquet(file)["feature_uses_28d"].to_list() == [1.0]


def test_scores_of_an_account_with_one_event_and_no_contract_say_what_is_unknown(
    source: Path,
    tmp_path: Path,
) -> None:
    keepwell(
        "ingest", str(source), "--mapping", str(source / "mapping.toml"), "-w", "ws", cwd=tmp_path
    )
    done = keepwell(
        "score", "--as-of", "2024-02-01", "--out", "scores.parquet", "-w", "ws", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    row = pl.read_parquet(tmp_path / "scores.parquet").to_dicts()[0]
    assert row["account_id"] == "acme"
    assert row["score_source"] == "none"  # too little is known even for the health formula
    assert row["revenue_at_risk"] is None  # no contract: no MRR, and unknown is not zero
    done = keepwell(
        "actions", "--as-of", "2024-02-01", "--out", "actions.json", "-w", "ws", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (account,) = json.loads((tmp_path / "actions.json").read_text())["accounts"]
    assert account["ranked"]


def test_a_score_after_more_events_came_is_of_the_newest_events(
    source: Path,
    tmp_path: Path,
) -> None:
    ingest = ("ingest", str(source), "--mapping", str(source / "mapping.toml"), "-w", "ws")
    score = ("score", "--as-of", "2024-02-01", "--out", "scores.parquet", "-w", "ws")
    snapshot = tmp_path / "ws" / "snapshots" / "as_of_20240201T000000Z.parquet"
    keepwell(*ingest, cwd=tmp_path)
    keepwell(*score, cwd=tmp_path)
    assert pl.read_parquet(snapshot)["feature_uses_28d"].to_list() == [1.0]
    with (source / "use.csv").open("a", encoding="utf-8") as rows:
        rows.write("3,acme,2024-01-20T10:00:00Z,search\n")
    keepwell(*ingest, cwd=tmp_path)
    done = keepwell(*score, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert pl.read_parquet(snapshot)["feature_uses_28d"].to_list() == [2.0]
    untouched = snapshot.stat().st_mtime_ns
    keepwell(*score, cwd=tmp_path)
    assert snapshot.stat().st_mtime_ns == untouched


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("ingest", "nowhere.csv", "--mapping", "nowhere.toml", "-w", "ws"), 3, "nowhere.toml"),
        (("snapshot", "--from", "2024-01-01", "-w", "ws"), 3, "Give --as-of DATE for one moment"),
        (("snapshot", "-w", "ws"), 3, "states no moment"),
        (
            ("snapshot", "--from", "2024-01-02", "--to", "2024-01-20", "-w", "ws"),
            3,
            "no start of a month",
        ),
        (
            ("score", "--as-of", "2024-01-01", "--out", "x.parquet", "-w", "ws"),
            3,
            "No account was known",
        ),
        (("serve", "-w", "nowhere"), 3, "There is no workspace"),
        (("health", "propose", "-w", "nowhere"), 3, "There is no workspace"),
        (("report", "--as-of", "2024-01-01", "-w", "nowhere"), 3, "There is no workspace"),
        (("webhooks", "list", "-w", "nowhere"), 3, "There is no workspace"),
        (("audit", "-w", "nowhere"), 3, "There is no workspace"),
        (("train", "happiness"), 2, "happiness"),
        (
            ("train", "churn", "--cluster", "tcp://10.0.0.1:8786", "--workers", "2", "-w", "ws"),
            3,
            "Give --cluster ADDRESS for a cluster that runs, or --workers N",
        ),
        (("score", "--out", "x.parquet", "--as-of", "soon"), 2, "soon"),
    ],
)
def test_what_can_not_be_done_is_one_paragraph_and_an_exit_code(
    words: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "ws").mkdir()
    done = keepwell(*words, cwd=tmp_path)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert message in one_paragraph(done.stderr)
    assert not (tmp_path / "x.parquet").exists()
    assert not (tmp_path / "nowhere").exists()


def test_a_mapping_that_names_a_missing_column_changes_nothing(
    source: Path,
    tmp_path: Path,
) -> None:
    mapping = source / "mapping.toml"
    mapping.write_text(mapping.read_text().replace('"company"', '"customer"'), encoding="utf-8")
    done = keepwell("ingest", str(source), "--mapping", str(mapping), "-w", "ws", cwd=tmp_path)
    assert done.returncode == 3
    said = one_paragraph(done.stderr)
    assert "customer" in said
    assert "use.csv" in said
    assert "company" in said  # the columns that there are
    assert not list((tmp_path / "ws" / "events").glob("*.parquet"))


def test_a_team_that_can_not_be_read_is_one_paragraph(tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text('[[csm]]\nid = "ann"\n', encoding="utf-8")
    done = keepwell("plan", "team.toml", "--out", "plan.json", "-w", ".", cwd=tmp_path)
    assert done.returncode == 3
    assert "team.toml, `csm` number 1 lacks `hours`" in one_paragraph(done.stderr)
    assert not (tmp_path / "plan.json").exists()


def test_a_team_file_that_is_none_is_one_paragraph(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'[[csm]]\nid = "Ren\xe9"\n')
    for name, said in (
        ("missing.toml", "cannot be read: No such file"),
        (".", "cannot be read: Is a directory"),
        ("latin.toml", "is not text in UTF-8 (byte 17)"),
    ):
        done = keepwell("plan", name, "--out", "plan.json", "-w", ".", cwd=tmp_path)
        assert (done.returncode, said in one_paragraph(done.stderr)) == (3, True)


def test_a_workspace_that_another_process_writes_is_left_alone(
    source: Path,
    tmp_path: Path,
) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from features.workspace import Workspace\n"
            "with Workspace('ws').lock():\n print('held', flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    done = keepwell(
        "ingest", str(source), "--mapping", str(source / "mapping.toml"), "-w", "ws", cwd=tmp_path
    )
    holder.communicate()
    assert done.returncode == 4
    assert "Another process is writing" in one_paragraph(done.stderr)


def test_a_version_that_there_is_not_can_not_be_promoted(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    done = keepwell("models", "promote", "churn", "7", "--by", "Ann", "-w", "ws", cwd=tmp_path)
    assert done.returncode == 3
    assert "has no version 7" in one_paragraph(done.stderr)
    done = keepwell("models", "rollback", "churn", "--by", "Ann", "-w", "ws", cwd=tmp_path)
    assert done.returncode == 3
    assert "No champion of 'churn' came before" in one_paragraph(done.stderr)


def test_a_traceback_comes_when_it_is_asked_for(tmp_path: Path) -> None:
    done = keepwell("serve", "-w", "nowhere", "--traceback", cwd=tmp_path)
    assert done.returncode == 3
    assert "CommandError" in done.stderr
