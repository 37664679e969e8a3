from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from forked_programs import run_program

PROGRAM = """
import numba.core.caching as caching

def refused(self):
    raise OSError("read-only")

caching._CacheLocator.ensure_cache_path = refused
from registry.trees.numba_cache import compiled

@compiled
def doubled(x: float) -> float:
    return 2 * x

print(doubled(21.0))
"""


def test_kernels_compile_where_no_cache_can_be_written():
    """As in a read-only image whose user has no home: numba finds no folder for its cache."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.stdout == "42.0\n", done.stderr


PARTS = {
    "__init__.py": "",
    "trees/__init__.py": "",
    "trees/numba_cache.py": (
        Path(__file__).parents[3] / "registry" / "trees" / "numba_cache.py"
    ).read_text("utf-8"),
    "inner.py": "from registry.trees.numba_cache import compiled\n\n"
    "@compiled\ndef step(number):\n    return number + 1\n",
    "outer.py": "from registry.trees.numba_cache import compiled\n"
    "from registry.inner import step\n\n"
    "@compiled\ndef stepped(number):\n    return step(number)\n",
}
ASK = "import numba; from registry.outer import stepped; print(stepped(1), len(stepped.stats.cache_hits))"


MADE = """
from numba import types
from numba.extending import intrinsic

@intrinsic
def step(_, number):
    return types.int64(number), lambda context, builder, _, given: builder.add(
        given[0], context.get_constant(types.int64, 1))
"""


def asked(folder: Path) -> str:
    done = run_program(ASK, cwd=folder, fresh=["registry"])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_change_of_what_was_compiled_into_a_kernel_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "registry" / "trees").mkdir(parents=True)
    for name, text in PARTS.items():
        (tmp_path / "registry" / name).write_text(text, encoding="utf-8")
    assert [asked(tmp_path), asked(tmp_path)] == ["2 0", "2 1"]
    inner = PARTS["inner.py"].replace("+ 1", "+ 5")
    (tmp_path / "registry" / "inner.py").write_text(inner, encoding="utf-8")
    assert asked(tmp_path) == "6 0"


def test_a_change_in_another_folder_is_noticed(tmp_path: Path) -> None:
    """Of a function that is compiled in, and of a constant whose value is."""
    parts = {
        **PARTS,
        "trees/__init__.py": "from registry.trees.inner import ONE, step\n",
        "trees/one.py": "ONE = 1\n",
        "trees/inner.py": "from registry.trees.one import ONE\n" + PARTS["inner.py"],
        "outer.py": PARTS["outer.py"]
        .replace("registry.inner import", "registry.trees import ONE,")
        .replace("step(number)", "step(number) * ONE"),
    }
    del parts["inner.py"]
    (tmp_path / "registry" / "trees").mkdir(parents=True)
    for name, text in parts.items():
        (tmp_path / "registry" / name).write_text(text, encoding="utf-8")
    assert [asked(tmp_path), asked(tmp_path)] == ["2 0", "2 1"]
    (tmp_path / "registry" / "trees" / "one.py").write_text("ONE = 10\n", encoding="utf-8")
    assert asked(tmp_path) == "20 0"
    inner = parts["trees/inner.py"].replace("+ 1", "+ 5")
    (tmp_path / "registry" / "trees" / "inner.py").write_text(inner, encoding="utf-8")
    assert asked(tmp_path) == "60 0"


def test_a_change_of_how_code_is_made_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "registry" / "trees").mkdir(parents=True)
    for name, text in {**PARTS, "inner.py": MADE}.items():
        (tmp_path / "registry" / name).write_text(text, encoding="utf-8")
    assert [asked(tmp_path), asked(tmp_path)] == ["2 0", "2 1"]
    other = MADE.replace("types.int64, 1", "types.int64, 5")
    (tmp_path / "registry" / "inner.py").write_text(other, encoding="utf-8")
    assert asked(tmp_path) == "6 0"
