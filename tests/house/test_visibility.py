"""Nothing but the module of visibility compares when a version was recorded with a moment."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("features", "training", "serving", "experiments", "registry")
COLUMNS = {"recorded_at", "superseded_at"}
COMPARISONS = {"lt", "le", "gt", "ge", "is_between", "is_null", "is_not_null"}

OWNER = "visibility.py"
ASKS_SOMETHING_ELSE = {
    "validate_draft": "drafts are no versions yet",
    "resolve_versions": "which of two versions of an event is the later one",
}
"""Functions of features that compare these columns and ask nothing as of a moment."""


def is_column(node: ast.AST) -> bool:
    """Whether a value is such a column itself: ``pl.col("recorded_at")``, ``event.recorded_at``,
    ``events["recorded_at"]``.
    """
    if isinstance(node, ast.Attribute):
        return node.attr in COLUMNS
    if isinstance(node, ast.Subscript):
        return _names_column(node.slice)
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "col"
        and any(_names_column(argument) for argument in node.args)
    )


def _names_column(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in COLUMNS


def compared(text: str) -> Iterator[int]:
    """The lines that compare such a column with anything but when its event happened."""
    tree = ast.parse(text)
    assigned = [
        (target, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
    ]
    pairs = [
        pair
        for target, value in assigned
        for pair in (
            zip(target.elts, value.elts, strict=False)
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            else [(target, value)]
        )
    ]
    names = {
        target.id for target, value in pairs if isinstance(target, ast.Name) and is_column(value)
    }
    happened = {"occurred", "occurred_at"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            ordering = any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops)
            with_occurred = any(
                (isinstance(side, ast.Name) and side.id in happened)
                or (isinstance(side, ast.Attribute) and side.attr in happened)
                for side in sides
            )
            if (
                ordering
                and not with_occurred
                and any(
                    is_column(side) or (isinstance(side, ast.Name) and side.id in names | COLUMNS)
                    for side in sides
                )
            ):
                yield node.lineno
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in COMPARISONS
            and is_column(node.func.value)
        ):
            yield node.lineno


def excused(path: Path, root: Path) -> set[int]:
    """The lines of the functions that ask something else."""
    if path.relative_to(root).parts[0] != "features":
        return set()
    return {
        line
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name in ASKS_SOMETHING_ELSE
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def test_one_module_says_what_is_visible(pytestconfig) -> None:
    root = pytestconfig.rootpath
    files = [
        *(path for package in PACKAGES for path in (root / package).rglob("*.py")),
        root / "keepwell.py",
    ]
    owners = [path for path in files if path.name == OWNER]
    assert len(owners) == 1
    assert [*compared(owners[0].read_text(encoding="utf-8"))], "the owner has the rule"
    found = [
        f"{path.relative_to(root)}:{line}"
        for path in files
        if path.name != OWNER
        for line in compared(path.read_text(encoding="utf-8"))
        if line not in excused(path, root)
    ]
    assert found == [], "ask features.events.visibility instead"


@pytest.mark.parametrize(
    "planted",
    [
        'events.filter(pl.col("recorded_at") < as_of)',
        'events.filter(as_of > pl.col("recorded_at"))',
        'events.filter(pl.col("recorded_at") >= pl.col("as_of"))',
        'events.filter(pl.col("superseded_at").is_null())',
        'events.filter(pl.col("recorded_at").is_between(start, end))',
        'events.filter(events["recorded_at"] <= as_of)',
        "known = [event for event in events if event.recorded_at < as_of]",
        "known = event.superseded_at is None or as_of <= event.superseded_at",
        'occurred, recorded = pl.col("occurred_at"), pl.col("recorded_at")\nrecorded < as_of',
        'at = pl.col("recorded_at")\nevents.filter(at < as_of)',
    ],
)
def test_a_second_rule_is_found(planted: str) -> None:
    assert [*compared(planted)]


@pytest.mark.parametrize(
    "allowed",
    [
        "if record.recorded_at < record.occurred_at: raise ValueError",
        'occurred, recorded = pl.col("occurred_at"), pl.col("recorded_at")\nrecorded < occurred',
        'pl.col("recorded_at").max()',
        'frame.sort("recorded_at").head(3)',
        'frame["superseded_at"].null_count() < frame.height',
        "events.filter(visible(as_of))",
    ],
)
def test_what_is_no_rule_of_visibility_is_left_alone(allowed: str) -> None:
    assert [*compared(allowed)] == []
