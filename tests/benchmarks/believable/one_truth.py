"""One truth everywhere: figures that stand in two places, and health beside the chance to leave.

The workspace is copied and asked as people and programs ask: every page, the API, the scores file, the
file of next actions, the reports. A figure disagrees where two places state it differently by more
than rounding (``tests/parity/stated_figures.py``).
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from stated_figures import Stated, by_figure, disagreements, walk
from workspace_answers import CLOCK, asked_alone, command, served, standing

from features.health.formula import HealthFormula
from features.health.score import score_health
from features.workspace import Workspace
from serving.scoring.score import AccountScore
from training.dataset.errors import TrainingError
from training.health.workspace import propose_for_workspace

URGENT = frozenset({"high", "critical"})


def counts(workspace: Path) -> list[tuple[str, str]]:
    """What is counted, with its figure in words.

    Args:
        workspace: a finished one, which is left as it is.
    """
    stated, scores = ask(workspace)
    return [*_figures(stated), *_health(Workspace(workspace), scores)]


def ask(workspace: Path) -> tuple[list[Stated], tuple[AccountScore, ...]]:
    """Every figure that a copy of a workspace states, and the scores of its accounts."""
    with tempfile.TemporaryDirectory() as folder, asked_alone(), standing(CLOCK):
        copy, files = Path(folder) / "workspace", Path(folder) / "files"
        shutil.copytree(workspace, copy)
        files.mkdir()
        found = {"scores": files / "scores.parquet", "actions": files / "actions.json"}
        for name, file in (("score", found["scores"]), ("actions", found["actions"])):
            code, said = command(name, "--out", file, "--workspace", copy)
            assert code == 0, said
        with served(copy) as client:
            stated = list(walk(client, copy / "reports", files=found))
            return stated, client.app.state.service.portfolio.scores


def _figures(stated: list[Stated]) -> list[tuple[str, str]]:
    groups = by_figure(stated)
    twice = sum(len({one.place for one in group}) > 1 for group in groups.values())
    apart = disagreements(stated)
    names = Counter(one.one.name for one in apart)
    lines = [
        ("figures that stand in two places or more", f"{twice:,} of {len(groups):,}"),
        ("of those, figures that two places state differently", f"{len(apart):,}"),
    ]
    for name, number in names.most_common():
        first = next(one for one in apart if one.one.name == name)
        lines.append((f"  {name}", f"{number:,}, such as {first}"))
    return lines


def _health(workspace: Workspace, scores: tuple[AccountScore, ...]) -> list[tuple[str, str]]:
    scored = [one for one in scores if one.churn_probability_90d is not None]
    formulas = {"the health formula in use": workspace.settings.formula}
    lines = []
    try:
        proposal = propose_for_workspace(workspace, as_of=workspace.now())
    except TrainingError as error:
        lines.append(("a proposed health formula", str(error)))
    else:
        formulas["the proposed health formula"] = proposal.formula
        lines += [
            (f"the proposed health formula, sentence {number}", line)
            for number, line in enumerate(proposal.lines(), start=1)
        ]
    return [line for name, one in formulas.items() for line in _beside(name, one, scored)] + lines


def _beside(name: str, formula: HealthFormula, scored: list[AccountScore]) -> list[tuple[str, str]]:
    health = [(one, score_health(formula, one.features)) for one in scored]
    known = [(one, found.score) for one, found in health if found.score is not None]
    order = spearmanr(
        [score for _, score in known], [-(one.churn_probability_90d or 0.0) for one, _ in known]
    ).statistic
    best = formula.bands[0].name
    middle = float(np.median([score for _, score in known]))
    above = sum(score > middle for one, score in known if one.risk_tier in URGENT)
    urgent = [found for one, found in health if one.risk_tier in URGENT]
    fine = sum(found.band == best for found in urgent)
    risk = np.mean([one.churn_probability_90d for one, found in health if found.band == best])
    return [
        (
            f"{name}: rank agreement with the chance to stay (Spearman)",
            f"{order:.3f} over {len(known):,} accounts",
        ),
        (
            f"{name}: accounts of high or critical risk that it calls {best}",
            f"{fine:,} of {len(urgent):,}",
        ),
        (
            f"{name}: accounts of high or critical risk in its better half",
            f"{above:,} of {len(urgent):,}",
        ),
        (f"{name}: mean chance to leave of those that it calls {best}", f"{risk:.1%}"),
    ]
