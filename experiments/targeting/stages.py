"""The stages of a lottery's trials: how far each came to its outcome.

A stage is a column of 0 and 1, or of false and true: whether a trial reached it (visited, asked for
an offer). Stages are in order: a trial that reached one reached those before, and an outcome other
than 0 needs all of them. They come after the draw, and the action may have changed them. So no
trial may be left out by its stage: the rest would no longer be randomised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from experiments.causal.sample import Bools, Floats, Ints
from experiments.table_file import TableFileError, refuse_rows
from experiments.targeting.facts import WORDS, parse_flags

MEND = (
    "Write 0 where a trial did not come so far; do not leave rows out by what came after the draw."
)


def read_stages(used: pl.DataFrame, file: str, stages: Sequence[str]) -> Bools:
    """Whether each trial reached each stage, trials x stages.

    Raises:
        TableFileError: a column is no flag or has an empty cell, or some trial came further than the
        stage
            before.
    """
    reached = np.zeros((used.height, len(stages)), dtype=bool)
    for place, name in enumerate(stages):
        dtype = used[name].dtype
        if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null, *WORDS)):
            raise TableFileError(
                f"{name!r} cannot be a stage of {file}: it is neither numbers nor words "
                f"({dtype}). Write 1 where a trial came so far and 0 where it did not, or leave "
                f"the column out (--leave-out {name!r})."
            )
        flags = parse_flags(used, name)
        wrong = used.filter(flags.is_nan().fill_null(value=False))
        if wrong.height:
            refuse_rows(
                wrong,
                pl.lit(value=True),
                f"has {wrong[name][0]!r:.40} for the stage {name!r}, which is neither 0 nor 1",
                file,
                next_step=f"A stage holds 0 or 1, or true or false. {MEND}",
            )
        refuse_rows(
            used.filter(flags.is_null()),
            pl.lit(value=True),
            f"has nothing for the stage {name!r}",
            file,
            next_step=MEND,
        )
        reached[:, place] = flags.to_numpy() == 1
    for place, name in enumerate(stages):
        is_last = place + 1 == len(stages)
        after = used["outcome"].to_numpy() != 0 if is_last else reached[:, place + 1]
        passed_by = int((after & ~reached[:, place]).sum())
        if not passed_by:
            continue
        found = (
            f"{passed_by:,} trials of {file} have" if passed_by > 1 else (f"1 trial of {file} has")
        )
        if is_last:
            raise TableFileError(
                f"{found} an outcome other than 0 and 0 for {name!r}. If outcomes come without it, "
                f"it is no stage: --leave-out {name!r}."
            )
        raise TableFileError(
            f"{found} 1 for {stages[place + 1]!r} and 0 for {name!r}, which was named before it. "
            f"Name stages in the order of the way. If {stages[place + 1]!r} comes without "
            f"{name!r}, that is no stage: --leave-out {name!r}."
        )
    return reached


def describe_stages(
    stages: Sequence[str], reached: Bools, outcome: Floats, *, arm: Ints, actions: Sequence[str]
) -> list[str]:
    """The number of trials that reached each stage, with a caution; empty without stages."""
    if not stages:
        return []
    trials, counts = len(outcome), reached.sum(axis=0).tolist()
    some = int((outcome != 0).sum())
    came = ", ".join(
        f"{count:,}{' came' if place == 0 else ''} as far as {name!r}"
        for place, (name, count) in enumerate(zip(stages, counts, strict=True))
    )
    lines = [f"Of {trials:,} trials {came}; {some:,} have an outcome other than 0."]
    for place, (name, count) in enumerate(zip(stages, counts, strict=True)):
        before = counts[place - 1] if place else trials
        why = None
        if count == before:  # each reached all stages before, so equal counts are equal trials
            why = (
                f"all who came as far as {stages[place - 1]!r} came so far too"
                if place
                else "all trials came so far"
            )
        elif place + 1 == len(stages) and count == some:
            why = (
                "all who came so far have an outcome other than 0"
                if count
                else ("nobody came so far")
            )
        if why:
            lines.append(f"{name!r} tells nothing apart: {why}.")
    for number, action in enumerate(actions):
        nobody = [
            name
            for name, by_arm, count in zip(
                stages, reached[arm == number].any(axis=0), counts, strict=True
            )
            if count and not by_arm
        ]
        if nobody:
            lines.append(
                f"Nobody with the action {action!r} came as far as {nobody[0]!r}, so that "
                f"nothing is known of how they go on from there."
            )
    return lines
