"""What a change can touch is found by imports, and what is nearest comes first."""

from __future__ import annotations

from pathlib import Path

import pytest
from changed_tests import distances

TREE = {
    "keepwell.py": "",
    "features/__init__.py": "",
    "features/lake/__init__.py": "",
    "features/lake/parts.py": "SIZE = 1\n",
    "features/lake/lake.py": "from features.lake.parts import SIZE\n",
    "serving/pages/portfolio.py": "def page():\n    from features.lake import lake\n",
    "serving/pages/templates/portfolio.html": "<p>",
    "serving/settings.py": "PORT = 8000\n",
    "tests/parity/worlds.py": "import serving.pages.portfolio\n",
    "tests/features/test_parts.py": "from features.lake.parts import SIZE\n",
    "tests/features/test_lake.py": "from features.lake.lake import SIZE\n",
    "tests/serving/conftest.py": "from worlds import portfolio\n",
    "tests/serving/test_pages.py": "",
    "tests/test_settings.py": "import serving.settings\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def near(root: Path, *changed: str) -> dict[str, int]:
    return {
        path.name: steps
        for path, steps in distances(root, changed).items()
        if path.name.startswith("test_")
    }


def test_a_test_is_as_far_as_its_chain_of_imports(root):
    assert near(root, "features/lake/parts.py") == {
        "test_parts.py": 1,
        "test_lake.py": 2,
        "test_pages.py": 5,  # conftest.py, worlds, portfolio, lake, parts
    }


def test_a_changed_test_is_the_nearest(root):
    assert near(root, "tests/features/test_lake.py") == {"test_lake.py": 0}


def test_a_template_stands_for_the_modules_of_its_folder(root):
    assert near(root, "serving/pages/templates/portfolio.html") == {"test_pages.py": 3}


def test_what_no_module_knows_selects_nothing(root):
    assert near(root, "README.md") == {}
