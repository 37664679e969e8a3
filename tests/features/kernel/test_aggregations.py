"""What every operation has, so that the sweep can call it."""

from __future__ import annotations

import pytest

from features.kernel.aggregations import OPERATIONS, Count, Operation, check_operations


class Half(Operation):
    """An operation that nobody has finished."""

    name = "half"


def test_an_operation_without_its_functions_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="'half' needs a `take`"):
        check_operations(Count, Half)


def test_two_operations_of_one_name_are_refused() -> None:
    with pytest.raises(TypeError, match="Two operations are called 'count'"):
        check_operations(*OPERATIONS, Count)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_says_what_it_is(operation: type[Operation]) -> None:
    assert operation.__doc__ is not None
    assert operation.__doc__ != Operation.__doc__
    assert (operation.counts_distinct == "values") <= operation.needs_property
