"""`keepwell health propose` writes a formula that nothing uses before a person adopts it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from features.compute.backfill import backfill, month_starts
from features.events.schema import EVENT_SCHEMA, Event, events_frame, properties_text
from features.health.formula import FORMULAS, read_formulas
from features.health.formula_text import formula_text
from features.lake.lake import Lake
from features.workspace import FORMULA_FILE, Workspace
from keepwell import app
from training.health.proposal import ProposalError
from training.health.workspace import propose_for_workspace

END = datetime(2023, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def workspace(small_company, tmp_path_factory) -> Workspace:
    """160 accounts on contracts; those at risk use the product seldom."""
    workspace = Workspace(tmp_path_factory.mktemp("proposed") / "ws", environment={})
    company = small_company(n_accounts=160, leaves=0.05)
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    start = datetime(2022, 1, 1, tzinfo=UTC)
    uses = []
    for number, risk in enumerate(company.risk):
        uses.append(
            Event(
                account_id=f"a{number:03}",
                kind="billing.invoice",
                occurred_at=start,
                recorded_at=start,
                quantity=100.0,
                event_id=f"{number}-invoice",
                properties=properties_text({"status": "paid", "invoice_id": f"i-{number}"}),
            )
        )
        for day in range(0, 510, 3 if risk < 0 else 6):
            at = start + timedelta(days=day, hours=1)
            uses.append(
                Event(
                    account_id=f"a{number:03}",
                    kind="feature.used",
                    occurred_at=at,
                    recorded_at=at,
                    event_count=4,
                    event_id=f"{number}-use-{day}",
                )
            )
    for name, events in (("contracts", company.events), ("uses", events_frame(uses))):
        lake.append(
            events.select(*EVENT_SCHEMA),
            source="test",
            file=name,
            now=company.known_until,
            complete_until=company.known_until,
        )
    workspace.change_settings(complete_until=END)
    backfill(workspace, month_starts(datetime(2022, 2, 1, tzinfo=UTC), END))
    return workspace


def keepwell(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_it_is_judged_on_later_rows_and_used_once_somebody_adopts_it(workspace, tmp_path) -> None:
    file = tmp_path / "proposed.toml"
    said = " ".join(keepwell("health", "propose", "--out", file, "-w", workspace.root).split())
    assert "fitted to earlier rows whose 90 days were over by then" in said
    assert "The proposed formula ranks better." in said
    [formula] = read_formulas(file.read_text(encoding="utf-8")).values()
    assert formula.id == "own"
    assert "The proposed formula ranks better." in file.read_text(encoding="utf-8")
    assert workspace.settings.formula is FORMULAS["balanced"]
    said = keepwell("health", "adopt", file, "--by", "ann", "-w", workspace.root)
    assert "keepwell snapshot" in said
    assert workspace.settings.formula == formula
    text = (workspace.root / FORMULA_FILE).read_text(encoding="utf-8")
    assert text.startswith("# Adopted by ann on ")
    workspace.change_settings(health_formula="balanced")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (formula_text(FORMULAS["goal_led"]), "is a formula that Keepwell brings"),
        (
            "".join(
                formula_text(replace(FORMULAS["balanced"], id=name, former_id=None))
                for name in ("one", "two")
            ),
            "holds 2 health formulas",
        ),
        ("[[formula]]\nid = 3\n", "holds no health formula"),
        ("[[", "holds no health formula"),
    ],
)
def test_what_is_no_single_formula_of_ones_own_is_not_adopted(
    workspace, tmp_path, text, why
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(
        app, ["health", "adopt", str(file), "--by", "ann", "-w", str(workspace.root)]
    )
    assert result.exit_code != 0
    assert why in str(result.exception)
    assert workspace.settings.formula is FORMULAS["balanced"]


def test_too_little_history_says_what_to_do(workspace) -> None:
    with pytest.raises(ProposalError, match="There is no snapshot from more than 90 days before"):
        propose_for_workspace(workspace, as_of=datetime(2022, 4, 1, tzinfo=UTC))
    found = propose_for_workspace(workspace, as_of=datetime(2022, 8, 1, tzinfo=UTC))
    assert found.backtest is None
    assert "could not be judged on later rows" in found.lines()[-1]
