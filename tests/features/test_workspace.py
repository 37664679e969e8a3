"""The workspace knows its places, keeps its settings whole and lets one process write."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.health.formula import FORMULAS
from features.health.formula_text import formula_text
from features.leaving import Leaving
from features.workspace import FORMULA_FILE, SETTINGS_FILE, Workspace
from features.workspace_files import WorkspaceBusyError, WorkspaceError

MOMENT = datetime(2023, 4, 1, tzinfo=UTC)


def test_settings_come_back_as_they_were_written(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, environment={})
    workspace.change_settings(complete_until=MOMENT, use_names=("a b", 'say "x"'), tenant="Größe\\")
    workspace.change_settings(currency="EUR", second_person=True)
    settings = workspace.settings
    assert settings.second_person is True
    assert settings.complete_until == MOMENT
    assert settings.use_names == ("a b", 'say "x"')
    assert (settings.tenant, settings.currency) == ("Größe\\", "EUR")


def test_settings_are_those_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    workspace, same = Workspace(tmp_path), Workspace(tmp_path)
    assert workspace.settings.capacity == 20
    workspace.change_settings(capacity=25)
    assert same.settings.capacity == 25
    with (tmp_path / SETTINGS_FILE).open("a", encoding="utf-8") as file:  # as an editor would
        file.write("# capacity: 25 a month\n")
    assert workspace.settings.capacity == 25
    (tmp_path / SETTINGS_FILE).write_text("capacity = 30", encoding="utf-8")
    assert workspace.settings.capacity == 30
    (tmp_path / SETTINGS_FILE).write_text("", encoding="utf-8")
    assert workspace.settings.capacity == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("currency = ", "not valid TOML"),
        ("colour = 'red'", r"unknown key\(s\) colour. It may hold: bounds, capacity, clock"),
        ("clock = 2023-04-01T00:00:00", r"no time zone\. Write it in UTC.*00Z\.$"),
        ("clock = 'soon'", "has to be a time"),
        ("currency = 3", "`currency` has to be text, not 3"),
        ("health_formula = 3", "`health_formula` has to be text, not 3"),
        ("use_names = [3]", "`use_names` has to be a list of texts"),
        ("max_feature_age_days = 'a week'", "`max_feature_age_days` has to be a number"),
        ("redis = 6379", "`redis` has to be text"),
        ("capacity = 20.5", "`capacity` has to be a whole number, not 20.5"),
        ("second_person = 'yes'", "`second_person` has to be true or false"),
        ("leaving = 3", "`leaving` has to be a table"),
        ("horizons = 3", "`horizons` has to be a table"),
        ("[horizons]\nchurn = 90", "churn is 90. Write a list of whole days between 1 and 1826"),
        ("[horizons]\nchurn = []", r"churn is \[\]. Write a list"),
        ("[horizons]\nchurn = [30, 0]", r"churn is \[30, 0\]. Write a list"),
        ("[leaving]\nmeans = 'silence'", "`means` is 'silence'; allowed are contract_ends, no_use"),
        ("[leaving]\nkinds = []", "kinds is empty"),
        ("[leaving]\nkinds = ['order']", "There is no kind of event 'order'. Orders are"),
        ("[leaving]\ndays = 0", "days is 0; it lies between 1 and 365"),
        ("[leaving]\nused_within_days = 9999", "used_within_days is 9999; it lies between 1"),
        ("[leaving]\nday = 30", r"unknown key\(s\) day. Did you mean days"),
    ],
)
def test_a_settings_file_that_can_not_be_read_says_why(
    tmp_path: Path,
    text: str,
    message: str,
) -> None:
    (tmp_path / "workspace.toml").write_text(text, encoding="utf-8")
    with pytest.raises(WorkspaceError, match=message):
        _ = Workspace(tmp_path).settings


def test_what_leaving_means_stays_when_other_settings_change(tmp_path: Path) -> None:
    assert Workspace(tmp_path).settings.leaving == Leaving()
    (tmp_path / SETTINGS_FILE).write_text(
        '[leaving]\nmeans = "no_use"\nkinds = "custom.visit"\ndays = 60\n[bounds]\ncount = 9\n'
        "[horizons]\nchurn = [180, 30]\n"
    )
    workspace = Workspace(tmp_path)
    workspace.change_settings(capacity=25)
    said = Leaving(means="no_use", kinds=("custom.visit",), days=60)
    assert workspace.settings.leaving == said
    assert workspace.settings.horizons == {"churn": (30, 180)}
    assert (workspace.settings.bounds.count, workspace.settings.capacity) == (9, 25)


def test_the_moment_is_the_given_one_or_the_clock_or_where_the_data_end(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, environment={})
    with pytest.raises(WorkspaceError, match=r"states no moment\. Say one with --as-of DATE"):
        workspace.now()
    workspace.change_settings(complete_until=MOMENT)
    assert workspace.now() == MOMENT
    clock = datetime(2023, 5, 1, tzinfo=UTC)
    workspace.change_settings(clock=clock)
    assert workspace.now() == clock
    assert workspace.now(MOMENT) == MOMENT


def test_a_folder_that_is_not_there_states_no_moment_and_is_said_not_to_be_there(
    tmp_path: Path,
) -> None:
    nowhere = Workspace(tmp_path / "nowhere", environment={})
    with pytest.raises(WorkspaceError, match=r"There is no workspace .*nowhere that would state"):
        nowhere.now()
    assert nowhere.now(MOMENT) == MOMENT


def test_another_process_that_writes_keeps_us_out_until_it_ends(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from features.workspace import Workspace\n"
            "with Workspace(sys.argv[1]).lock():\n print('held', flush=True); sys.stdin.read()",
            str(tmp_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    workspace = Workspace(tmp_path)
    with pytest.raises(WorkspaceBusyError, match="nothing was changed"), workspace.lock():
        pass
    holder.kill()
    holder.communicate()
    with workspace.lock():
        assert tmp_path.exists()


def test_another_tracking_server_comes_from_the_environment(tmp_path: Path) -> None:
    assert Workspace(tmp_path, environment={}).tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    other = Workspace(tmp_path, environment={"KEEPWELL_TRACKING_URI": "sqlite:////x/mlflow.db"})
    assert other.tracking_uri == "sqlite:////x/mlflow.db"


class TestHealthFormulaOfAnOlderWorkspace:
    def test_is_read_by_its_former_number_with_a_note(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / SETTINGS_FILE).write_text('health_formula = "002"\n', encoding="utf-8")
        workspace = Workspace(tmp_path)
        assert workspace.settings.health_formula == "usage_led"
        [note] = caplog.messages
        assert "'002' is now called 'usage_led'" in note
        assert 'write health_formula = "usage_led"' in note

    def test_is_stored_under_its_name_with_the_next_change(self, tmp_path: Path) -> None:
        (tmp_path / SETTINGS_FILE).write_text('health_formula = "004"\n', encoding="utf-8")
        Workspace(tmp_path).change_settings(capacity=30)
        text = (tmp_path / SETTINGS_FILE).read_text(encoding="utf-8")
        assert 'health_formula = "goal_led"' in text

    def test_that_nobody_declares_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / SETTINGS_FILE).write_text('health_formula = "005"\n', encoding="utf-8")
        with pytest.raises(WorkspaceError, match="no health formula '005'"):
            _ = Workspace(tmp_path).settings


class TestAnOwnHealthFormula:
    """A formula that a tenant declares beside the settings."""

    @staticmethod
    def declare(folder: Path, **changes: str) -> Workspace:
        own = replace(FORMULAS["balanced"], id=changes.get("id", "own"), former_id=None)
        (folder / FORMULA_FILE).write_text(formula_text(own), encoding="utf-8")
        (folder / SETTINGS_FILE).write_text('health_formula = "own"\n', encoding="utf-8")
        return Workspace(folder)

    def test_is_used_where_the_settings_name_it(self, tmp_path: Path) -> None:
        workspace = self.declare(tmp_path)
        assert workspace.settings.formula.id == "own"
        assert workspace.settings.formula.components == FORMULAS["balanced"].components
        changed = workspace.change_settings(capacity=30)
        assert changed.formula.id == "own"
        assert "own_formula" not in (tmp_path / SETTINGS_FILE).read_text(encoding="utf-8")
        workspace.change_settings(health_formula="balanced")
        assert workspace.settings.formula is FORMULAS["balanced"]

    def test_is_read_again_when_its_file_changes(self, tmp_path: Path) -> None:
        workspace = self.declare(tmp_path)
        before = workspace.settings.formula.version
        text = (tmp_path / FORMULA_FILE).read_text(encoding="utf-8")
        (tmp_path / FORMULA_FILE).write_text(
            text.replace("lowest = 80", "lowest = 85"), encoding="utf-8"
        )
        assert workspace.settings.formula.version != before

    def test_may_not_take_a_name_that_is_taken(self, tmp_path: Path) -> None:
        with pytest.raises(WorkspaceError, match="Choose another id"):
            _ = self.declare(tmp_path, id="goal_led").settings

    def test_that_is_not_there_or_wrong_is_refused(self, tmp_path: Path) -> None:
        workspace = self.declare(tmp_path, id="other")
        with pytest.raises(WorkspaceError, match="no health formula 'own'"):
            _ = workspace.settings
        (tmp_path / FORMULA_FILE).write_text("[[formula]]\nid = 3\n", encoding="utf-8")
        with pytest.raises(WorkspaceError, match=f"{FORMULA_FILE} in"):
            _ = workspace.settings
