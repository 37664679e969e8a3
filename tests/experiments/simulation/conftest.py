"""Worlds to look at: tiny for meaning, small for rates, confounded for what judgement does."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.simulation.settings import PRESETS, WorldSettings
from experiments.simulation.world import World, simulate


@pytest.fixture(scope="session")
def tiny() -> World:
    return simulate(PRESETS["tiny"], np.random.default_rng(1))


@pytest.fixture(scope="session")
def small() -> World:
    return simulate(PRESETS["small"], np.random.default_rng(2))


@pytest.fixture(scope="session")
def confounded() -> World:
    """Every CSM decides by judgement."""
    settings = WorldSettings(accounts=900, months=15, pilot_share=0.0, judgement_share=1.0)
    return simulate(settings, np.random.default_rng(3))
