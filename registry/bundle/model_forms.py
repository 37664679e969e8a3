"""The forms of model that a bundle can hold, each a class that scores and explains rows.

To add a form, write a class that keeps ``ModelForm`` and add it to ``FORMS``; where training fits
it in a new way, see ``training/models/fit.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from registry.bundle.linear import LinearForm
from registry.trees.arrays import TreeArrays
from registry.trees.batch_scoring import CodedTrees
from registry.trees.owen import LeafPaths
from registry.trees.shap import SplitShares
from registry.trees.shap_batch import BatchShares

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

MANY = 4
"""From this many rows on, contributions of trees are faster a block of rows at a time than row by
row."""


class ModelForm(Protocol):
    """What a bundle scores and explains with.

    A row's contributions and ``base`` sum to its raw score, which is in log-odds.
    """

    kind: ClassVar[str]
    """The name of the form in a bundle's files. A stored bundle has it, so it never changes."""

    @property
    def n_features_read(self) -> int:
        """The smallest number of columns of its matrix."""
        ...

    @property
    def base(self) -> float:
        """The raw score that contributions start from."""
        ...

    def fits(self, n_features: int) -> bool:
        """Whether it reads a matrix with this many columns."""
        ...

    def score(self, matrix: Floats) -> Floats:
        """The raw score of each row, computed plainly; the other methods are checked against it."""
        ...

    def score_many(self, matrix: Floats) -> Floats:
        """The raw score of each row, computed fast."""
        ...

    def contributions(self, matrix: Floats) -> Floats:
        """One value per row and column, computed plainly."""
        ...

    def contributions_of_many(self, matrix: Floats, raw: Floats) -> Floats:
        """The contributions computed fast, from the rows and their raw scores."""
        ...

    def theme_contributions(self, matrix: Floats, raw: Floats, themes: Places) -> Floats:
        """One value per row and theme: the Shapley values of the game whose players are themes.

        ``themes`` is the theme of each column, from 0. The values and ``base`` sum to the score.
        """
        ...

    def contributions_within(self, matrix: Floats, raw: Floats, themes: Places) -> Floats:
        """One value per row and column, which sum by theme to those of ``theme_contributions``.

        The Owen values of the game: themes play it, and the features of a theme share its value.
        """
        ...

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """Its numbers by name, as they are stored."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """A checked form from stored arrays."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class TreeForm:
    """Trees, and the tables that score and explain many rows of them, made when first needed."""

    kind: ClassVar[str] = "trees"

    trees: TreeArrays

    @property
    def n_features_read(self) -> int:
        """The smallest number of columns of its matrix."""
        return self.trees.n_features_read

    @property
    def base(self) -> float:
        """The mean raw score over the training rows."""
        return self._shares.base

    def fits(self, n_features: int) -> bool:
        """Trees need not split on every feature."""
        return self.n_features_read <= n_features

    def score(self, matrix: Floats) -> Floats:
        """The raw score of each row, tree by tree."""
        return self.trees.score(matrix)

    def score_many(self, matrix: Floats) -> Floats:
        """The raw score of each row, by the codes of its values; equal to the last bit."""
        return self._coded.score(matrix)

    def contributions(self, matrix: Floats) -> Floats:
        """The SHAP values, row by row."""
        return self._shares.contributions(self.trees, matrix)

    def contributions_of_many(self, matrix: Floats, raw: Floats) -> Floats:
        """The SHAP values, a block of rows at a time; with 24 bits a leaf."""
        if len(matrix) < MANY:
            return self.contributions(matrix)
        return self._of_many.contributions(self.trees, matrix, raw)

    def theme_contributions(self, matrix: Floats, raw: Floats, themes: Places) -> Floats:
        """The SHAP values of themes: on a path, the features of one theme are one player."""
        found = self._by_theme(themes)
        if len(matrix) < MANY:
            return found.shares.contributions(self.trees, matrix)
        return found.contributions(self.trees, matrix, raw)

    def contributions_within(self, matrix: Floats, raw: Floats, themes: Places) -> Floats:
        """The Owen values, leaf by leaf."""
        key = themes.tobytes()
        if key not in self._paths:
            self._paths[key] = LeafPaths.of(self.trees, themes)
        return self._paths[key].contributions(self.trees, matrix)

    def alone(self, matrix: Floats, themes: Places | None = None) -> Floats:
        """What each column, or theme, adds in log-odds where nothing else is known."""
        found = self._of_many if themes is None else self._by_theme(themes)
        return found.alone(self.trees, matrix)

    def _by_theme(self, themes: Places) -> BatchShares:
        key = themes.tobytes()
        if key not in self._of_themes:
            shares = SplitShares.of(self.trees, themes)
            self._of_themes[key] = BatchShares.of(self.trees, shares)
        return self._of_themes[key]

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """The arrays of the trees."""
        return self.trees.arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Checked trees from stored arrays."""
        return cls(trees=TreeArrays.from_arrays(arrays))

    @cached_property
    def _of_themes(self) -> dict[bytes, BatchShares]:
        """The tables of each way to sort features into themes."""
        return {}

    @cached_property
    def _paths(self) -> dict[bytes, LeafPaths]:
        """The ways to the leaves, for each way to sort features into themes."""
        return {}

    @cached_property
    def _coded(self) -> CodedTrees:
        return CodedTrees.of(self.trees)

    @cached_property
    def _shares(self) -> SplitShares:
        return SplitShares.of(self.trees)

    @cached_property
    def _of_many(self) -> BatchShares:
        return BatchShares.of(self.trees, self._shares)


FORMS: tuple[type[ModelForm], ...] = (TreeForm, LinearForm)


def form_named(kind: str) -> type[ModelForm]:
    """The form of this name in a bundle's files.

    >>> form_named("linear").__name__
    'LinearForm'
    """
    for form in FORMS:
        if form.kind == kind:
            return form
    raise KeyError(kind)
