"""The workspace: the one folder that holds all files of a tenant.

One workspace is one tenant. It can be moved as a whole. This module knows the paths and settings of a
workspace and locks it for writing.
"""

from __future__ import annotations

import json
import logging
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import get_args

from features.catalogue.catalogue import Catalogue, CatalogueError, load_catalogue
from features.catalogue.own_features import OWN_FEATURES_FILE, OwnFeatureError
from features.events.bounds import Bounds, BoundsError
from features.format_version import newer_format
from features.health.formula import (
    DEFAULT_FORMULA,
    FORMER_IDS,
    FORMULAS,
    HealthFormula,
    HealthFormulaError,
    formula_id,
    read_formulas,
)
from features.leaving import Leaving, LeavingError, Meaning
from features.reloaded_file import ReloadedFile
from features.toml_table import Table, toml_values
from features.workspace_files import (
    UnusableStoreError,
    WorkspaceError,
    hold_lock,
    write_atomically,
)

SETTINGS_FILE = "workspace.toml"
FORMULA_FILE = "health_formula.toml"
"""The tenant's own health formula, in the form of ``features/health/formulas.toml``."""

FORMAT_FILE = "workspace.format"
FORMAT = 1
"""The version of the form of all files of a workspace together. It grows with a release that writes
what the one before cannot read; that one then refuses the workspace as a whole."""

TRACKING_VARIABLE = "KEEPWELL_TRACKING_URI"

log = logging.getLogger(__name__)


class NewerWorkspaceError(UnusableStoreError):
    """A newer Keepwell wrote the workspace."""


@dataclass(frozen=True, kw_only=True)
class WorkspaceSettings:
    """The settings of one tenant. All money is in ``currency``.

    ``complete_until`` is the last ``as_of`` and the end of every label window; ``clock`` is the
    current moment of a sample: ages, cool-downs and deadlines are measured from it.
    ``use_names`` are feature names of the product; each gets features that count its use. ``redis`` is how
    Feast reaches the Redis that holds the online features (``host:6379,db=0,password=$NAME`` with
    a variable of the environment for a secret; one database a workspace); without it they are in
    the workspace. ``capacity`` is how many accounts the team looks after at a cutoff, for judging
    models; with ``second_person`` a promotion waits until another person approves it.
    ``region`` is where the data of the workspace have to lie: events whose ``data_region`` says
    another are refused. ``yearly_churn`` is the share of customers that leave in a year, between 0 and
    1: with it there are chances to leave before anything was learned. ``bounds`` bound what events may
    say; they are a table of their own.
    ``leaving`` says what leaving means where there are no contracts, a table of its own as well.
    ``horizons`` is a table too: the days within which an outcome is predicted, such as
    ``churn = [30, 90, 180]``; an outcome that it does not name keeps its own. Risk levels and revenue
    at risk look 90 days ahead.
    ``own_formula`` is the health formula that ``health_formula.toml`` beside the settings declares,
    where ``health_formula`` names it, ``own_features`` the text of ``features.toml`` beside them.
    """

    tenant: str = "Example company"
    currency: str = "USD"
    complete_until: datetime | None = None
    clock: datetime | None = None
    use_names: tuple[str, ...] = ()
    health_formula: str = DEFAULT_FORMULA
    max_feature_age_days: float = 35.0
    redis: str | None = None
    capacity: int = 20
    second_person: bool = False
    region: str | None = None
    yearly_churn: float | None = None
    bounds: Bounds = field(default_factory=Bounds)
    leaving: Leaving = field(default_factory=Leaving)
    horizons: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    own_formula: HealthFormula | None = field(default=None, metadata={"is_setting": False})
    own_features: str = field(default="", metadata={"is_setting": False})

    @property
    def catalogue(self) -> Catalogue:
        """All features: the shipped ones, those of ``use_names``, and the tenant's own."""
        return load_catalogue(self.use_names, self.own_features)

    @property
    def formula(self) -> HealthFormula:
        """The health formula that is used."""
        return self.own_formula or FORMULAS[self.health_formula]


class Workspace:
    """The folder and the paths in it. An object can be made before the folder exists."""

    def __init__(self, root: str | Path, environment: Mapping[str, str] | None = None) -> None:
        self.root = Path(root).absolute()
        self._environment = os.environ if environment is None else environment

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"

    @cached_property
    def events_dir(self) -> Path:
        """The lake: Parquet parts and their manifest."""
        return self.root / "events"

    @property
    def formula_file(self) -> Path:
        """The tenant's own health formula, where it has one."""
        return self.root / FORMULA_FILE

    @cached_property
    def format_file(self) -> Path:
        """The version of the form of the workspace's files; without it, version 1."""
        return self.root / FORMAT_FILE

    @cached_property
    def quarantine_dir(self) -> Path:
        """Refused rows, each with its reason."""
        return self.root / "quarantine"

    @property
    def snapshots_dir(self) -> Path:
        """Features, one Parquet file per moment."""
        return self.root / "snapshots"

    @property
    def feast_dir(self) -> Path:
        """Feast's repository: its configuration, its definitions and its registry."""
        return self.root / "feast"

    @property
    def online_db(self) -> Path:
        """The packed online store."""
        return self.root / "online.db"

    @property
    def ledger_db(self) -> Path:
        """Decisions and outcomes."""
        return self.root / "ledger.db"

    @property
    def ledger_head(self) -> Path:
        """The newest head of the ledger, noted after each commit."""
        return self.root / "ledger.head"

    @property
    def waiting_runs_dir(self) -> Path:
        """Trainings that wait until the tracking server is back."""
        return self.root / "waiting-runs"

    @property
    def monitoring_dir(self) -> Path:
        """Results of monitoring, and the segments for which a model may not answer."""
        return self.root / "monitoring"

    @property
    def shadow_dir(self) -> Path:
        """Predictions of challengers beside those of the champions."""
        return self.root / "shadow"

    @property
    def plans_dir(self) -> Path:
        """The newest plan of a team's week."""
        return self.root / "plans"

    @property
    def reports_dir(self) -> Path:
        """Causal reports as HTML and JSON."""
        return self.root / "reports"

    @property
    def tracking_uri(self) -> str:
        """MLflow's database: this workspace's own, or another by ``KEEPWELL_TRACKING_URI``."""
        return self._environment.get(TRACKING_VARIABLE) or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def settings(self) -> WorkspaceSettings:
        """The settings in ``workspace.toml``, with defaults for those that are missing.

        Where a file of them cannot be used any more, those that this process read before hold.

        Raises:
            WorkspaceError: the file is not TOML, a setting does not exist or is of another type, or
                there is no such health formula; or a newer Keepwell wrote the workspace.
        """
        return _held_settings(self.root).current()

    @property
    def settings_problem(self) -> str | None:
        """Why the settings are those that this process read before; None where they are not.

        A process that has read no good ones yet gets the error.
        """
        held = _held_settings(self.root)
        held.current()
        return None if held.problem is None else str(held.problem)

    def change_settings(self, **changes: object) -> WorkspaceSettings:
        """Change these settings; the file is replaced as a whole."""
        if (problem := self.settings_problem) is not None:
            raise WorkspaceError(problem)
        settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        lines = []
        for setting in fields(settings):
            value = getattr(settings, setting.name)
            if value is None or value == () or not setting.metadata.get("is_setting", True):
                continue
            if not isinstance(value, Bounds | Leaving | Mapping):
                lines.append(f"{setting.name} = {_toml(value)}")
        lines += _leaving_lines(settings.leaving)
        if settings.horizons:
            lines += ["[horizons]"]
            lines += [f"{name} = {list(days)}" for name, days in settings.horizons.items()]
        lines += _bounds_lines(settings.bounds)
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self.root / SETTINGS_FILE, ("\n".join(lines) + "\n").encode())
        if not self.format_file.exists():
            written = {"format": "keepwell workspace", "version": FORMAT}
            write_atomically(self.format_file, (json.dumps(written) + "\n").encode())
        return settings

    def refuse_newer(self) -> None:
        """Use no workspace of a newer Keepwell.

        Raises:
            WorkspaceError: a newer Keepwell wrote it, or its version cannot be read.
        """
        newer = newer_format(
            _format_file(self.format_file).current(),
            newest=FORMAT,
            what=f"The workspace {self.root}",
        )
        if newer is not None:
            raise NewerWorkspaceError(newer)

    def now(self, given: datetime | None = None) -> datetime:
        """The moment of the workspace: ``given``, else ``clock``, else ``complete_until``.

        Raises:
            WorkspaceError: nothing states a moment.
        """
        settings = self.settings
        moment = given or settings.clock or settings.complete_until
        if moment is None and not self.root.is_dir():
            raise WorkspaceError(
                f"There is no workspace {self.root} that would state a moment. Say one with --as-of "
                f"DATE, or name another with --workspace."
            )
        if moment is None:
            raise WorkspaceError(
                f"The workspace {self.root} states no moment. Say one with --as-of "
                f"DATE, or ingest events with a mapping that says complete_until."
            )
        return moment

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the workspace for writing; the kernel lets go when the process ends.

        Raises:
            WorkspaceBusyError: another process holds it.
        """
        self.refuse_newer()
        busy = (
            f"Another process is writing to the workspace {self.root}. Wait for it to end and try "
            f"again; nothing was changed."
        )
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with hold_lock(self.root, busy=busy):
            yield


class _HeldSettings:
    """The settings of one workspace, and those of before while a file of them cannot be used."""

    def __init__(self, root: Path) -> None:
        self.problem: WorkspaceError | None = None
        self._workspace = Workspace(root)
        self._file = ReloadedFile(
            root / SETTINGS_FILE, _read_settings, lambda: _usual_settings(root)
        )
        self._good: WorkspaceSettings | None = None

    def current(self) -> WorkspaceSettings:
        try:
            self._workspace.refuse_newer()
            found = self._with_features(self._with_formula(self._file.current()))
        except NewerWorkspaceError:
            raise
        except WorkspaceError as error:
            if self._good is None:
                raise
            self.problem = error
            return self._good
        self._good, self.problem = found, None
        return found

    def _with_features(self, settings: WorkspaceSettings) -> WorkspaceSettings:
        text = _own_features(self._workspace.root / OWN_FEATURES_FILE).current()
        if not text:
            return settings
        try:
            load_catalogue(settings.use_names, text)
        except (CatalogueError, OwnFeatureError) as exc:
            raise WorkspaceError(f"{exc} (in {self._workspace.root})") from exc
        return replace(settings, own_features=text)

    def _with_formula(self, settings: WorkspaceSettings) -> WorkspaceSettings:
        if settings.health_formula in FORMULAS:
            return settings
        workspace = self._workspace
        own = _own_formulas(workspace.formula_file).current().get(settings.health_formula)
        if own is None:
            try:
                formula_id(settings.health_formula)
            except HealthFormulaError as exc:
                raise WorkspaceError(
                    f"health_formula in {SETTINGS_FILE} in {workspace.root}: {exc} {FORMULA_FILE} "
                    f"beside it declares none of that name either."
                ) from exc
        return replace(settings, own_formula=own)


@lru_cache(maxsize=16)
def _held_settings(root: Path) -> _HeldSettings:
    """One reader for each workspace, because a service reads its settings with every request."""
    return _HeldSettings(root)


def _usual_settings(root: Path) -> WorkspaceSettings:
    """Those of a workspace in which nobody ever stated any."""
    if (root / FORMAT_FILE).exists():
        raise WorkspaceError(
            f"{SETTINGS_FILE} is missing in {root}, which has had one. Put it back from a backup, or "
            f"write an empty file to go back to the usual settings."
        )
    return WorkspaceSettings()


@lru_cache(maxsize=16)
def _format_file(path: Path) -> ReloadedFile[int | None]:
    return ReloadedFile(path, _read_format, lambda: None)


def _read_format(path: Path) -> int:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["version"])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UnusableStoreError(
            f"{path.name} in {path.parent} is damaged ({exc}). Put it back from a backup; without it "
            f"the workspace counts as one of version 1."
        ) from exc


@lru_cache(maxsize=16)
def _own_features(path: Path) -> ReloadedFile[str]:
    return ReloadedFile(path, _read_own_features, str)


def _read_own_features(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as exc:
        raise WorkspaceError(
            f"{path.name} in {path.parent} cannot be read ({exc}). Mend it."
        ) from exc


@lru_cache(maxsize=16)
def _own_formulas(path: Path) -> ReloadedFile[Mapping[str, HealthFormula]]:
    return ReloadedFile(path, _read_own_formulas, dict)


def _read_own_formulas(path: Path) -> Mapping[str, HealthFormula]:
    try:
        found = read_formulas(path.read_text(encoding="utf-8"), path.name)
    except FileNotFoundError:
        raise
    except (HealthFormulaError, OSError, ValueError) as exc:
        raise WorkspaceError(f"{path.name} in {path.parent}: {exc}") from exc
    if taken := sorted(set(found) & set(FORMULAS)):
        raise WorkspaceError(
            f"{path.name} in {path.parent} declares a health formula {taken[0]!r}, which is the name "
            f"of one that Keepwell brings. Choose another id."
        )
    return found


class _SettingsTable(Table):
    error = WorkspaceError


def _read_settings(path: Path) -> WorkspaceSettings:
    where = f"{SETTINGS_FILE} in {path.parent}"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as exc:
        raise WorkspaceError(f"{where} cannot be read ({exc}). Mend the file.") from exc
    try:
        values = toml_values(text)
    except tomllib.TOMLDecodeError as exc:
        raise WorkspaceError(
            f"{where} is not valid TOML ({exc}). Mend the file, or empty it to go back to the "
            f"usual settings."
        ) from exc
    default = WorkspaceSettings()
    names = {one.name for one in fields(default) if one.metadata.get("is_setting", True)}
    table = _SettingsTable(values, where, allowed=names)
    return WorkspaceSettings(
        tenant=table.text("tenant", default.tenant),
        currency=table.text("currency", default.currency),
        complete_until=table.instant("complete_until"),
        clock=table.instant("clock"),
        use_names=table.texts("use_names", default.use_names),
        health_formula=_formula(table.text("health_formula", default.health_formula), where),
        max_feature_age_days=table.number("max_feature_age_days", default.max_feature_age_days),
        redis=table.optional_text("redis"),
        capacity=table.whole("capacity", default.capacity),
        second_person=table.flag("second_person", default.second_person),
        region=table.optional_text("region"),
        yearly_churn=_read_yearly_churn(table, where),
        bounds=replace(
            _read_bounds(table.table("bounds", {}), f"bounds of {where}"),
            region=table.optional_text("region"),
        ),
        leaving=_read_leaving(table.table("leaving", {}), f"leaving of {where}"),
        horizons=_read_horizons(table.table("horizons", {}), f"horizons of {where}"),
    )


def _read_yearly_churn(table: Table, where: str) -> float | None:
    if not table.has("yearly_churn"):
        return None
    share = table.number("yearly_churn")
    if not 0 < share < 1:
        raise WorkspaceError(
            f"{where}: yearly_churn is {share:g}. It is the share of customers that leave in a year, "
            f"between 0 and 1: 0.15 for 15 of 100."
        )
    return share


def _read_leaving(values: Mapping[str, object], where: str) -> Leaving:
    default = Leaving()
    table = _SettingsTable(values, where, allowed={one.name for one in fields(default)})
    try:
        return Leaving(
            means=table.word("means", get_args(Meaning), default.means),
            kinds=table.texts("kinds", default.kinds),
            days=table.whole("days", default.days),
            used_within_days=table.whole("used_within_days", default.used_within_days),
        )
    except LeavingError as exc:
        raise WorkspaceError(f"{where}: {exc}") from exc


LONGEST_HORIZON = 1826
"""Five years of days."""


def _read_horizons(values: Mapping[str, object], where: str) -> dict[str, tuple[int, ...]]:
    """The horizons of each outcome that is named, in rising order; outcomes are declared elsewhere."""
    found: dict[str, tuple[int, ...]] = {}
    for name, days in values.items():
        whole = [
            day
            for day in (days if isinstance(days, list) else [])
            if isinstance(day, int) and not isinstance(day, bool) and 1 <= day <= LONGEST_HORIZON
        ]
        if not isinstance(days, list) or not days or len(whole) < len(days):
            raise WorkspaceError(
                f"{where}: {name} is {days!r}. Write a list of whole days between 1 and "
                f"{LONGEST_HORIZON}, such as {name} = [30, 90]."
            )
        found[name] = tuple(sorted(set(whole)))
    return found


def _leaving_lines(leaving: Leaving) -> list[str]:
    """What differs from leaving as the end of a contract, as a table of the file."""
    if leaving == Leaving():
        return []
    return [
        "[leaving]",
        *(f"{one.name} = {_toml(getattr(leaving, one.name))}" for one in fields(leaving)),
    ]


def _read_bounds(values: Mapping[str, object], where: str) -> Bounds:
    default = Bounds()
    names = {one.name for one in fields(default)} - {"region"}  # a setting of the workspace
    table = _SettingsTable(values, where, allowed=names)
    given = table.table("quantities", {})
    quantities = _SettingsTable(given, f"quantities of {where}")
    try:
        return Bounds(
            quantities={kind: quantities.number(kind) for kind in given},
            count=table.whole("count", default.count),
            text=table.whole("text", default.text),
            from_date=table.day("from_date", default.from_date),
            until_date=table.day("until_date", default.until_date),
        )
    except BoundsError as exc:
        raise WorkspaceError(f"{where}: {exc}") from exc


def _bounds_lines(bounds: Bounds) -> list[str]:
    """What differs from the bounds that the kinds declare, as the last tables of the file."""
    default = Bounds()
    own = {one.name: getattr(bounds, one.name) for one in fields(bounds)}
    others = ("quantities", "region")
    plain = {n: v for n, v in own.items() if n not in others and v != getattr(default, n)}
    lines = ["[bounds]", *(f"{name} = {_toml(value)}" for name, value in plain.items())]
    if bounds.quantities:
        lines.append("[bounds.quantities]")
        lines += [f'"{kind}" = {_toml(largest)}' for kind, largest in bounds.quantities.items()]
    return lines if len(lines) > 1 else []


def _formula(given: str, where: str) -> str:
    """The name of a formula that is given by its former number; any other as it is."""
    name = FORMER_IDS.get(given, given)
    if name != given:
        log.warning(
            'the health formula %r is now called %r: write health_formula = "%s" in %s',
            given,
            name,
            name,
            where,
        )
    return name


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)
