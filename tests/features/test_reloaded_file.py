"""A file is read again when it is replaced, and what is kept is what the file of its stamp says."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from features.lake.manifest import MANIFEST, Manifest, manifest_json, read_manifest
from features.reloaded_file import ReloadedFile


class Readings:
    """Reads a file of one number, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, path: Path) -> int:
        self.count += 1
        return int(path.read_text(encoding="utf-8"))


def test_a_file_is_read_once_until_it_is_replaced(tmp_path: Path) -> None:
    path, read = tmp_path / "number", Readings()
    file = ReloadedFile(path, read, lambda: -1)
    assert file.current() == -1
    path.write_text("1", encoding="utf-8")
    assert [file.current() for _ in range(3)] == [1, 1, 1]
    path.write_text("22", encoding="utf-8")
    assert (file.current(), read.count) == (22, 2)
    path.unlink()
    assert file.current() == -1


def test_a_file_that_can_not_be_read_is_told_each_time(tmp_path: Path) -> None:
    path = tmp_path / "number"
    file = ReloadedFile(path, Readings(), lambda: -1)
    path.write_text("one", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(ValueError, match="one"):
            file.current()


def test_what_was_read_before_holds_on_where_that_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "number"
    file = ReloadedFile(path, Readings(), lambda: -1, tolerated_errors=(ValueError,))
    path.write_text("1", encoding="utf-8")
    assert (file.current(), file.problem) == (1, None)
    path.write_text("one", encoding="utf-8")
    assert file.current() == 1
    assert "one" in str(file.problem)
    path.write_text("2", encoding="utf-8")
    assert (file.current(), file.problem) == (2, None)


def test_a_file_that_vanishes_between_look_and_reading_is_as_if_there_were_none(
    tmp_path: Path,
) -> None:
    """And nothing is kept: put back with the same stamp, it is read."""
    path, away, read = tmp_path / "number", tmp_path / "away", Readings()
    path.write_text("1", encoding="utf-8")

    def vanishing(found: Path) -> int:
        if not read.count:
            read.count += 1
            found.rename(away)
        return read(found)

    file = ReloadedFile(path, vanishing, lambda: -1)
    assert file.current() == -1
    away.rename(path)
    assert file.current() == 1


def test_a_manifest_that_vanishes_is_as_if_there_were_none(tmp_path: Path) -> None:
    class Vanishing(type(tmp_path)):  # type: ignore[misc]
        """A path whose file is removed when it has been looked at."""

        def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
            found: os.stat_result = super().stat(follow_symlinks=follow_symlinks)
            self.unlink()
            return found

    (tmp_path / MANIFEST).write_bytes(manifest_json(Manifest(rows=7)))
    assert read_manifest(Vanishing(tmp_path / MANIFEST)) == Manifest()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_missed_also_where_its_folder_is_written_to_all_the_time(tmp_path: Path) -> None:
    file, beside = tmp_path / "limits.toml", tmp_path / "busy"
    file.write_text("one")
    held = ReloadedFile(file, lambda path: path.read_text(), lambda: "none", settle_seconds=0.2)
    assert held.current() == "one"
    file.unlink()
    until = time.monotonic() + 30
    while held.current() == "one":
        assert time.monotonic() < until
        beside.write_text("again")
        beside.unlink()
        time.sleep(0.01)
    assert held.current() == "none"
