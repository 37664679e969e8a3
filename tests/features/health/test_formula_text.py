"""A formula that is written is read back as the same formula."""

from __future__ import annotations

import pytest

from features.health.formula import FORMULAS, read_formulas
from features.health.formula_text import formula_text


@pytest.mark.parametrize("name", FORMULAS)
def test_what_is_written_is_read_back(name):
    text = formula_text(FORMULAS[name], ["Adopted by Ann.", ""])
    assert text.startswith("# Adopted by Ann.\n#\n[[formula]]\n")
    assert read_formulas(text) == {name: FORMULAS[name]}
