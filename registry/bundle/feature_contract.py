"""The feature contract: which features a model reads, in which order and by which definition.

A contract turns a frame or one account's mapping into the matrix that is scored and explained, and
refuses anything that is not what the model was trained on. Unknown is NaN, never zero.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from registry.trees.numba_cache import compiled

Floats = npt.NDArray[np.float64]
Bitmap = npt.NDArray[np.uint8]
Value = float | int | bool | str | None
Row = Mapping[str, Value]

OWN_USE = re.compile(r"use_\w+_count_\d+d")
"""Names of the features that count the use of one feature of the tenant's product."""


class FeatureContractError(Exception):
    """The rows lack features that the model reads, or have them by another definition."""


@dataclass(frozen=True, kw_only=True)
class ContractFeature:
    """One feature: its name, the digest of its definition and, if it is text, its categories.

    A text is scored as its position in ``categories``; a text that training never saw is unknown.
    """

    name: str
    digest: str
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.categories)) != len(self.categories):
            raise FeatureContractError(
                f"Feature {self.name!r} lists a category twice; list each once."
            )


@dataclass(frozen=True)
class FeatureContract:
    """The features of a model in the order of its matrix."""

    features: tuple[ContractFeature, ...]

    def __post_init__(self) -> None:
        repeated = sorted({n for n in self.names if self.names.count(n) > 1})
        if repeated:
            raise FeatureContractError(
                f"A contract names {', '.join(repeated)} twice; name each feature once."
            )
        if not self.features:
            raise FeatureContractError("A contract needs at least one feature.")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The feature names in order."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of names, order, definitions and categories."""
        text = json.dumps(
            [[f.name, f.digest, list(f.categories)] for f in self.features], ensure_ascii=True
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def check(self, digests: Mapping[str, str]) -> None:
        """Refuse when a feature's definition is gone or is not the one of the training."""
        lacking = [f.name for f in self.features if f.name not in digests]
        if lacking:
            raise FeatureContractError(self._lacks(lacking, "the catalogue"))
        changed = [f.name for f in self.features if digests[f.name] != f.digest]
        if changed:
            raise FeatureContractError(
                f"The model was trained on another definition of {_listed(changed)}. Train it "
                "again (keepwell train), or restore the definition it knows."
            )

    def matrix(
        self, rows: pl.DataFrame | Row, *, digests: Mapping[str, str] | None = None
    ) -> Floats:
        """One row per account and one column per feature, NaN where unknown.

        Columns that the model does not read are ignored. With ``digests`` (name to digest, of the
        catalogue that made the rows) the definitions are checked as well.
        """
        if digests is not None:
            self.check(digests)
        frame = rows if isinstance(rows, pl.DataFrame) else self._frame(rows)
        there = frozenset(frame.columns)  # a new list at each call
        lacking = [name for name in self.names if name not in there]
        if lacking:
            raise FeatureContractError(self._lacks(lacking, "this snapshot"))
        matrix = np.empty((frame.height, len(self.features)))
        for place, feature in enumerate(self.features):
            self._fill(matrix, place, feature, frame[feature.name])
        infinite = np.isinf(matrix)
        if infinite.any():
            which = [name for j, name in enumerate(self.names) if infinite[:, j].any()]
            raise FeatureContractError(
                f"{_listed(which)} is infinite in {int(infinite.any(axis=1).sum())} row(s). A "
                "feature is a finite number or unknown (null); correct its source or definition."
            )
        return matrix

    def _frame(self, row: Row) -> pl.DataFrame:
        lacking = [name for name in self.names if name not in row]
        if lacking:
            raise FeatureContractError(self._lacks(lacking, "this account"))
        return pl.DataFrame([pl.Series(name, [row[name]], strict=False) for name in self.names])

    def _fill(
        self, matrix: Floats, place: int, feature: ContractFeature, column: pl.Series
    ) -> None:
        if feature.categories:
            if column.dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
                raise FeatureContractError(
                    f"Feature {feature.name!r} is a text for this model and {column.dtype} in "
                    "these rows. Rebuild the snapshot (keepwell snapshot)."
                )
            codes = {text: float(code) for code, text in enumerate(feature.categories)}
            matrix[:, place] = [codes.get(text, math.nan) for text in column.cast(pl.String)]
            return
        if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
            raise FeatureContractError(
                f"Feature {feature.name!r} is a number for this model and {column.dtype} in "
                "these rows. Rebuild the snapshot (keepwell snapshot)."
            )
        if column.dtype != pl.Float64:
            column = column.cast(pl.Float64)
        values = column.rechunk().to_arrow()
        known, numbers = values.buffers()
        if known is None or not column.null_count():
            matrix[:, place] = column.to_numpy()
        else:
            _fill_known(
                matrix,
                place,
                values.offset,
                np.frombuffer(numbers, np.float64),
                np.frombuffer(known, np.uint8),
            )

    def _lacks(self, lacking: Sequence[str], where: str) -> str:
        many = "1 feature" if len(lacking) == 1 else f"{len(lacking)} features"
        own = any(OWN_USE.fullmatch(name) for name in lacking)
        return (
            f"The model reads {many} that {where} lacks: {_listed(lacking)}. "
            + (
                "The mapping's list use_names decides which of the product's features are counted "
                "one by one: name there what the model was trained on and ingest again. "
                if own
                else ""
            )
            + "Rebuild the snapshot (keepwell snapshot) or roll the model back "
            "(keepwell models rollback)."
        )


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


@compiled
def _fill_known(matrix: Floats, place: int, offset: int, numbers: Floats, known: Bitmap) -> None:
    """A column from Arrow's numbers and the bits that say which of them are known."""
    for row in range(matrix.shape[0]):
        i = offset + row
        matrix[row, place] = numbers[i] if known[i >> 3] >> (i & 7) & 1 else np.nan
