"""Write the file of scores: a snapshot scored a part at a time, in order of revenue at risk.

::

    snapshot ─► 20,000 accounts ─► scores as columns ─► rows in order ─► file, swapped as a whole
       └─► medians of similar accounts, a column at a time ──┘

Memory does not grow with the accounts, but for 16 bytes of each, and one column of all of them
while its medians are found.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from features.catalogue.catalogue import HEALTH_SCORE
from features.compute.snapshot_store import MADE_FROM, SnapshotStore
from features.workspace import Workspace
from features.workspace_files import keep_mode
from registry.bundle.feature_contract import FeatureContractError
from registry.outcomes import CHURN, EXPANSION
from registry.store.store import ModelStore
from serving.scoring.explanations import MOST_REASONS, Peers
from serving.scoring.models_served import models_of
from serving.scoring.score import Models, ServedModel
from serving.scoring.scored_columns import Scoring
from serving.scoring.scores_file.external_sort import ExternalSort
from serving.scoring.scores_file.file_columns import FileColumns
from serving.scoring.scores_file.peer_medians import peers_in_file

ACCOUNTS_AT_ONCE = 20_000
LEAST_AT_ONCE = 16
"""Of fewer rows contributions are made in another way, equal to 1e-6; a file is made in one."""


class ScoresFileError(Exception):
    """The file of scores cannot be written."""


@dataclass(frozen=True, kw_only=True)
class ScoresWritten:
    """What a file of scores holds: its accounts by what scored them, and by why not the model."""

    accounts: int
    by_source: Mapping[str, int]
    by_reason: Mapping[str, int]

    @classmethod
    def of(cls, scores: pl.DataFrame) -> ScoresWritten:
        """What these rows come to."""
        return cls(
            accounts=scores.height,
            by_source=_counted(scores["score_source"]),
            by_reason=_counted(scores["degraded"]),
        )

    def __add__(self, other: ScoresWritten) -> ScoresWritten:
        return ScoresWritten(
            accounts=self.accounts + other.accounts,
            by_source=Counter(self.by_source) + Counter(other.by_source),
            by_reason=Counter(self.by_reason) + Counter(other.by_reason),
        )


def write_scores(
    workspace: Workspace,
    store: ModelStore,
    as_of: datetime,
    file: Path,
    *,
    most_reasons: int = MOST_REASONS,
    at_once: int = ACCOUNTS_AT_ONCE,
) -> ScoresWritten:
    """Score every account of a snapshot into a Parquet file, most revenue at risk first.

    A file that is there is replaced as a whole, and stays as it was where this fails.

    Raises:
        SnapshotError: there is no snapshot as of this moment.
        ScoresFileError: the file cannot be written.
    """
    settings = workspace.settings
    snapshots = SnapshotStore(workspace.snapshots_dir)
    path, declared = (
        snapshots.existing_path(as_of),
        settings.catalogue,
    )
    formula = settings.formula
    models = check_model_contracts(
        path,
        models_of(workspace, store),
        digests={**declared.digests, HEALTH_SCORE: formula.version},
    )
    reads = () if models.churn is None else models.churn.model.contract.names
    scoring = Scoring(
        models=models,
        catalogue=declared,
        formula=formula,
        now=as_of,
        currency=settings.currency,
        max_age=timedelta(days=settings.max_feature_age_days),
        leaving=settings.leaving,
        peers=peers_in_file(
            path,
            [n for n in dict.fromkeys((*reads, *formula.inputs)) if n in declared.by_name],
        )
        if most_reasons
        else Peers(groups={}),
    )
    columns = FileColumns(scoring=scoring, most_reasons=most_reasons)
    about = {
        "keepwell.as_of": as_of.isoformat(),
        "keepwell.currency": settings.currency,
        MADE_FROM: snapshots.digest(as_of) or "",
        "keepwell.models": json.dumps(
            {
                one.version: one.fingerprint
                for one in (models.churn, models.churn_formula, models.expansion)
                if one is not None
            }
        ),
    }
    written = ScoresWritten(accounts=0, by_source={}, by_reason={})
    with _whole(file) as temporary, ExternalSort(file.parent) as rows:
        parts = snapshots.parts(as_of, columns.reads, rows=at_once)
        for frame in _not_too_small(parts):
            scored = columns.of(frame)
            rows.add(scored, scored["revenue_at_risk"].fill_null(float("nan")).to_numpy())
            written += ScoresWritten.of(scored)
        nothing = columns.schema.to_frame().to_arrow(compat_level=pl.CompatLevel.oldest())
        _write(temporary, rows.parts(at_once), nothing.schema.with_metadata(about))
    return written


def check_model_contracts(path: Path, models: Models, *, digests: Mapping[str, str]) -> Models:
    """The models that can read the snapshot in a file; of the others, why not."""
    refusals = dict(models.refusals)

    def able(label: str, served: ServedModel | None) -> ServedModel | None:
        if served is None:
            return None
        try:
            served.model.contract.matrix(
                _suspects(path, served.model.contract.names), digests=digests
            )
        except FeatureContractError as error:
            refusals[label] = f"{served.version} cannot read these features: {error}"
            return None
        return served

    return replace(
        models,
        churn=able(CHURN.name, models.churn),
        expansion=able(EXPANSION.name, models.expansion),
        churn_formula=able(str(CHURN.formula_model), models.churn_formula),
        refusals=refusals,
    )


def _suspects(path: Path, names: tuple[str, ...]) -> pl.DataFrame:
    """The rows that no model may read, for an infinite value; nearly always none."""
    there = pl.read_parquet_schema(path)
    scan = pl.scan_parquet(path).select(n for n in names if n in there)
    floats = [n for n in names if n in there and there[n].is_float()]
    file = pq.ParquetFile(path).metadata
    at = {file.schema.column(n).name: n for n in range(file.num_columns)}
    doubtful = [
        name
        for name in floats
        if not all(
            _is_finite(file.row_group(group).column(at[name]))
            for group in range(file.num_row_groups)
        )
    ]
    if not doubtful:
        return scan.head(0).collect()
    return scan.filter(pl.any_horizontal(pl.col(doubtful).is_infinite())).collect()


def _is_finite(column: pq.ColumnChunkMetaData) -> bool:
    """Whether the file itself says that a column has no infinite value."""
    statistics = column.statistics
    if statistics is None or not statistics.has_null_count:
        return False
    if statistics.null_count == column.num_values:
        return True
    return bool(
        statistics.has_min_max
        and abs(statistics.min) < float("inf")
        and abs(statistics.max) < float("inf")
    )


def _not_too_small(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The frames, those of few rows together with the one before or after them."""
    held: pl.DataFrame | None = None
    for frame in frames:
        if held is not None and min(held.height, frame.height) >= LEAST_AT_ONCE:
            yield held
            held = frame
        else:
            held = frame if held is None else pl.concat([held, frame])
    if held is not None:
        yield held


@contextmanager
def _whole(file: Path) -> Iterator[Path]:
    """A temporary name beside the file, which takes its place where nothing fails."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        yield temporary
        keep_mode(temporary, file)
        temporary.replace(file)
    except OSError as error:
        if error.errno is None:  # of reading the snapshot
            raise
        raise ScoresFileError(
            f"{file} could not be written: {error.strerror}. Nothing of it is left, and a file of "
            f"that name is as it was. Make room, or name another with --out."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write(path: Path, tables: Iterator[pa.Table], schema: pa.Schema) -> None:
    # few words are said often; numbers and ids hardly repeat, and to look for it takes time
    words = [
        field.name
        for field in schema
        if pa.types.is_large_string(field.type) and field.name != "account_id"
    ]
    with path.open("wb") as out:
        writer = pq.ParquetWriter(out, schema, compression="zstd", use_dictionary=words)
        try:
            for table in tables:
                writer.write_table(table.cast(schema))
        except OSError:
            with suppress(OSError):  # its end fails where a part has failed
                writer.close()
            raise
        writer.close()
        out.flush()
        os.fsync(out.fileno())


def _counted(words: pl.Series) -> dict[str, int]:
    return dict(words.drop_nulls().value_counts().iter_rows())
