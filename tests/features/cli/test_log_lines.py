"""A record of the log is one line, and a text of others cannot write a second one."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

from keepwell_command import run_keepwell

from features.cli.log_lines import LogLines

START = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [A-Z]+ [\w.]+: ")
HOSTILE = "a\r\n2026-03-01T12:00:00Z ERROR keepwell.serving: all is lost\x1b[2J\u202e\u2028\ud800b"


def test_a_text_of_others_begins_no_record_and_steers_no_terminal() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogLines())
    log = logging.Logger("keepwell.test")
    log.addHandler(handler)
    log.warning("the account %s is odd", HOSTILE)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("computing failed")
    lines = stream.getvalue().splitlines()
    stream.getvalue().encode()
    records = [line for line in lines if START.match(line)]
    assert [line.partition(": ")[2][:16] for line in records] == [
        "the account a\\r\\",
        "computing failed",
    ]
    assert all(line.startswith("  ") for line in lines if line not in records)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", stream.getvalue())


def test_a_command_writes_its_log_so(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "workspace.toml").write_text('health_formula = "002"\n', encoding="utf-8")
    done = run_keepwell("features", "-w", str(folder), cwd=tmp_path)
    [line] = [one for one in done.stderr.splitlines() if "is now called" in one]
    assert START.match(line)
    assert " WARNING features.workspace: the health formula '002' is now called" in line
