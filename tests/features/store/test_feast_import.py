"""Feast comes without its checks of types, and whoever imported it first keeps them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typeguard

from features.store import _feast_import as quick_feast

ROOT = Path(__file__).parents[3]
SAYS = (
    "import feast, typeguard; print('TypeCheckMemo' in feast.Entity.__init__.__code__.co_names,"
    " typeguard.typechecked.__name__)"
)


@pytest.mark.parametrize(
    ("first", "checked"),
    [
        ("import features.store.feast", False),
        ("import serving.state.service_state", False),
        ("import feast; import features.store.feast", True),
    ],
)
def test_feast_is_imported_without_checks_unless_it_was_there(first: str, checked: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{first}; {SAYS}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [str(checked), "typechecked"]


def test_classes_made_meanwhile_are_left_alone_with_options_or_without() -> None:
    class Plain:
        pass

    original = typeguard.typechecked
    with quick_feast.without_type_checks():
        assert typeguard.typechecked(Plain) is Plain
        assert typeguard.typechecked(debug_instrumentation=True)(Plain) is Plain
    assert typeguard.typechecked is original
    with pytest.raises(KeyError), quick_feast.without_type_checks():
        raise KeyError
    assert typeguard.typechecked is original
