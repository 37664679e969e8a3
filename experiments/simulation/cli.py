"""The command that simulates a company."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from features.cli.options import out, show_progress


class Preset(StrEnum):
    """Sizes of the simulated world."""

    TINY = "tiny"
    SMALL = "small"
    STANDARD = "standard"
    LONG = "long"


def simulate(
    folder: Annotated[Path, typer.Argument(help="Where the events and their mapping go.")],
    preset: Annotated[Preset, typer.Option(help="How large.")] = Preset.STANDARD,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same world.")] = 1,
) -> None:
    """Simulate a company with interventions and known truth.

    The events and their mapping go to FOLDER/events, ready for `keepwell ingest`; the truth goes
    to FOLDER/truth, which nothing but a test may read.
    """
    import numpy as np

    from experiments.simulation.settings import PRESETS
    from experiments.simulation.world import simulate as simulate_world
    from experiments.simulation.world import write_world

    with show_progress("Simulating"):
        world = simulate_world(PRESETS[preset.value], np.random.default_rng(seed))
        write_world(world, folder)
    out.print(f"{world.events.height:,} events in {folder}.")
