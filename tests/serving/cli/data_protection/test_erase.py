"""What the command says before and after an erasure."""

from __future__ import annotations

import pytest

from features.cli.options import out
from serving.cli.data_protection.run_erasure import show_counts


@pytest.mark.parametrize(("count", "is_said"), [(0, True), (1, False)])
def test_an_id_of_which_nothing_is_held_is_said_to_be_one(count, is_said):
    with out.capture() as shown:
        show_counts({"events": count})
    assert ("Compare its spelling" in shown.get()) is is_said
