"""Read the propensities of a lottery from its file.

``propensity`` is the chance of the drawn action, ``propensity:ACTION`` that of each action. The
first is enough with two actions, or if the chances are the same in all rows.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from experiments.causal.sample import Floats, Ints
from experiments.table_file import TableFileError, parse_numbers, refuse_rows

PROPENSITY, PROPENSITY_OF = "propensity", "propensity:"

ROUNDING = 2e-3
"""Tolerance of the sum of chances that people write with three digits."""


def propensity_columns(table: pl.DataFrame) -> list[str]:
    """The columns with the chances of single actions."""
    return [name for name in table.columns if name.startswith(PROPENSITY_OF)]


def propensities(
    table: pl.DataFrame,
    file: str,
    actions: tuple[str, ...],
    arm: Ints,
) -> tuple[Floats, Floats | None]:
    """The chance of the drawn action, and of every action if the file has them.

    Raises:
        TableFileError: a column is missing, or a row holds no valid chance.
    """
    chances = None
    if propensity_columns(table):
        needed = [PROPENSITY_OF + name for name in actions]
        lacking = [name for name in needed if name not in table.columns]
        if lacking:
            raise TableFileError(
                f"{file} lacks the column(s) {', '.join(lacking)}: give the chance of every "
                f"action, doing nothing among them, or only {PROPENSITY!r}."
            )
        chances = np.column_stack(
            [parse_numbers(table, name, file).fill_null(np.nan).to_numpy() for name in needed]
        )
        total = chances.sum(axis=1)
        wrong = pl.Series(~((chances >= 0).all(axis=1) & (np.abs(total - 1) <= ROUNDING)))
        refuse_rows(
            table.filter(wrong),
            pl.lit(value=True),
            f"has {PROPENSITY_OF}… that are not all between 0 and 1, or do not sum to 1",
            file,
        )
        chances /= total[:, None]
    if PROPENSITY in table.columns:
        own = parse_numbers(table, PROPENSITY, file).fill_null(np.nan).to_numpy()
        words = f"has a {PROPENSITY} that is not above 0 and at most 1"
    else:
        assert chances is not None
        own = chances[np.arange(len(arm)), arm]
        words = f"has an action that could not be drawn: its {PROPENSITY_OF}… is 0"
    refuse_rows(table.filter(pl.Series(~((own > 0) & (own <= 1)))), pl.lit(value=True), words, file)
    if chances is not None:
        differs = np.abs(chances[np.arange(len(arm)), arm] - own) > ROUNDING
        refuse_rows(
            table.filter(pl.Series(differs)),
            pl.lit(value=True),
            f"has a {PROPENSITY} that is not the {PROPENSITY_OF}… of its action",
            file,
        )
    return own, chances


def all_propensities(
    used: pl.DataFrame,
    file: str,
    actions: tuple[str, ...],
    arm: Ints,
    own: Floats,
    chances: Floats | None,
) -> Floats:
    """The chance of every action in every row, computed from that of the drawn one if possible.

    Raises:
        TableFileError: the chances cannot be computed, or an action could not have been drawn in
        some row.
    """
    if chances is not None:
        refuse_rows(
            used.filter(pl.Series((chances <= 0).any(axis=1))),
            pl.lit(value=True),
            "could not have been drawn for every action",
            file,
        )
        return chances
    if len(actions) == 2:
        chances = np.empty((len(arm), 2))
        chances[np.arange(len(arm)), arm], chances[np.arange(len(arm)), 1 - arm] = own, 1 - own
        return chances
    of_arms = [own[arm == number] for number in range(len(actions))]
    same = np.array([float(one.mean()) for one in of_arms])
    if max(float(np.ptp(one)) for one in of_arms) > ROUNDING or abs(same.sum() - 1) > ROUNDING:
        found = ", ".join(f"{name} {one:.3g}" for name, one in zip(actions, same, strict=True))
        raise TableFileError(
            f"{file} has {len(actions)} actions, and {PROPENSITY!r} says only how likely the one "
            f"was that was drawn. That is enough where chances are the same in all rows and "
            f"sum to 1; here they are, on average, {found}. Give {PROPENSITY_OF + 'ACTION'!r} for "
            f"each."
        )
    return np.tile(same / same.sum(), (len(arm), 1))
