"""Mutation testing: small breaks of a module, each of which its tests have to notice.

Cosmic Ray makes the breaks (an operator replaced, a number changed, a branch turned round) in a
copy of the tree, one at a time, and runs the tests that answer for the module. What they do not
notice survives: a law that no test states, or a break that changes nothing.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.plugins import get_operator, operator_names
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome

COPIED = (
    "features",
    "registry",
    "training",
    "experiments",
    "serving",
    "tests",
    "keepwell.py",
    "pyproject.toml",
)

SAY_NOTHING = (
    "Annotation",
    "RemoveDecorator",
    "ExceptionReplacer",
    "VariableReplacer",
    "VariableInserter",
    "NoOp",
    "BitOr",
)
"""Parts of names of operators that break types or imports at once, or that hit ``X | None``."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Modules, the tests that answer for them, and the share of mutants that must be killed."""

    name: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    floor: float
    sample: int = 40
    seconds: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of the mutants of a target; ``survivors`` are their diffs."""

    tried: int
    killed: int
    survivors: tuple[str, ...]

    @property
    def share(self) -> float:
        """Killed mutants of those that were tried."""
        return self.killed / self.tried


def copy_of_tree(root: Path, folder: Path) -> Path:
    """A copy in which modules may be broken; what was compiled is copied along."""
    for name in COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.pyc"))
        elif source.exists():
            shutil.copy2(source, folder / name)
    return folder


def mutations(module: Path) -> Iterator[MutationSpec]:
    """Every mutant of a module that the operators make."""
    nodes = list(ast_nodes(get_ast_from_path(module)))
    for name in operator_names():
        operator = get_operator(name)
        if operator.arguments() or any(word in name for word in SAY_NOTHING):
            continue
        made = operator()
        places = (place for node in nodes for place in made.mutation_positions(node))
        for occurrence, (start, end) in enumerate(places):
            yield MutationSpec(
                module_path=module,
                operator_name=name,
                occurrence=occurrence,
                start_pos=start,
                end_pos=end,
                operator_args={},
            )


def tried(target: Target, folder: Path, seed: int) -> Verdict:
    """Break a copy of the tree in the ways that chance draws, and see which breaks are noticed.

    A mutant that runs too long counts as noticed; one that cannot be made is left out.
    """
    every = [one for module in target.modules for one in mutations(folder / module)]
    drawn = np.random.default_rng(seed).permutation(len(every))[: target.sample]
    command = " ".join(
        [
            sys.executable,
            "-B",  # a mutant of the same length, made in the same second, would find compiled code
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            *target.tests,
        ]
    )
    outcomes = []
    for place in sorted(drawn):
        result = mutate_and_test([every[place]], command, target.seconds)
        if result.worker_outcome is WorkerOutcome.NORMAL:
            outcomes.append(result)
    killed = sum(result.test_outcome is not TestOutcome.SURVIVED for result in outcomes)
    survivors = tuple(
        result.diff for result in outcomes if result.test_outcome is TestOutcome.SURVIVED
    )
    return Verdict(tried=len(outcomes), killed=killed, survivors=survivors)
