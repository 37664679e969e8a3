from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from experiments.causal.design import (
    Design,
    DesignChangedError,
    DesignError,
    read_design,
    write_design,
)

MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
DESIGN = Design(
    design_id="calls-90d",
    question="Do calls keep accounts?",
    action="success_call",
    intervention="calls",
    mechanism="lottery",
    estimand="ITT",
)


def test_a_written_design_reads_back_equal(tmp_path: Path) -> None:
    written = write_design(DESIGN, tmp_path, at=MAY)
    assert read_design(tmp_path / "calls-90d.json") == DESIGN
    assert written.written_at == MAY


def test_writing_again_keeps_the_first_moment(tmp_path: Path) -> None:
    write_design(DESIGN, tmp_path, at=MAY)
    assert write_design(DESIGN, tmp_path, at=JUNE).written_at == MAY
    assert [path.name for path in tmp_path.iterdir()] == ["calls-90d.json"]


def test_a_design_does_not_change_after_it_was_written(tmp_path: Path) -> None:
    write_design(DESIGN, tmp_path, at=MAY)
    with pytest.raises(DesignChangedError, match="does not change after data were read"):
        write_design(replace(DESIGN, horizon_days=60), tmp_path, at=JUNE)


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    write_design(DESIGN, tmp_path, at=MAY)
    path = tmp_path / "calls-90d.json"
    path.write_text(path.read_text().replace('"horizon_days": 90', '"horizon_days": 30'))
    with pytest.raises(DesignChangedError, match="edited after it was written"):
        read_design(path)


@pytest.mark.parametrize(("mechanism", "estimand"), [("lottery", "ATT"), ("judgement", "ITT")])
def test_the_estimand_fits_who_decided(mechanism: str, estimand: str) -> None:
    with pytest.raises(DesignError, match="A lottery gives ITT, judgement ATT or ATE"):
        replace(DESIGN, mechanism=mechanism, estimand=estimand)


def test_an_id_is_a_file_name() -> None:
    with pytest.raises(DesignError, match="becomes a file name"):
        replace(DESIGN, design_id="../calls")


@pytest.mark.parametrize("change", [{"horizon_days": 0}, {"window_days": -1}, {"washout_days": -1}])
def test_windows_are_not_negative(change: dict[str, int]) -> None:
    with pytest.raises(DesignError, match="the horizon must be positive"):
        replace(DESIGN, **change)
