"""What is compiled is kept, and not believed once the code that it was made of has changed."""

from __future__ import annotations

from pathlib import Path

from forked_programs import run_program

ROOT = Path(__file__).parents[3]

INNER = """
from features.kernel.numba_cache import inlined

@inlined
def step(number):
    return number + {by}
"""
OUTER = """
from features.kernel.numba_cache import compiled
from features.inner import step

@compiled
def stepped(number):
    return step(number)
"""
ASK = """
import numba
from features.outer import stepped
print(stepped(1), sum(stepped.stats.cache_hits.values()))
"""


def package(folder: Path) -> Path:
    """A package with one function that is compiled into another."""
    (folder / "features" / "kernel").mkdir(parents=True)
    (folder / "features" / "__init__.py").touch()
    (folder / "features" / "kernel" / "__init__.py").touch()
    (folder / "features" / "kernel" / "numba_cache.py").write_bytes(
        (ROOT / "features" / "kernel" / "numba_cache.py").read_bytes()
    )
    (folder / "features" / "inner.py").write_text(INNER.format(by=1), encoding="utf-8")
    (folder / "features" / "outer.py").write_text(OUTER, encoding="utf-8")
    return folder


FOLDERS = {
    "kernel/__init__.py": "from features.kernel.inner import step\nfrom .days import DAYS\n",
    "kernel/days.py": "DAYS = 0\n",
    "kernel/inner.py": INNER.format(by=1),
    "outer/__init__.py": "from features.outer.stepping import stepped\n",
    "outer/stepping.py": OUTER.replace(
        "features.inner import step", "features.kernel import DAYS, step"
    ).replace("return step(number)", "return step(number) + DAYS"),
}


def package_of_folders(folder: Path) -> Path:
    """The same in folders, and a constant; both are taken from the folder, not from the module."""
    package(folder)
    for file in ("inner.py", "outer.py"):
        (folder / "features" / file).unlink()
    for name, text in FOLDERS.items():
        file = folder / "features" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def asked(folder: Path) -> str:
    done = run_program(ASK, cwd=folder, fresh=["features"])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_second_process_finds_what_the_first_compiled(tmp_path: Path) -> None:
    folder = package(tmp_path)
    assert [asked(folder), asked(folder)] == ["2 0", "2 1"]


def test_a_change_of_what_was_compiled_in_is_noticed(tmp_path: Path) -> None:
    folder = package(tmp_path)
    assert asked(folder) == "2 0"
    (folder / "features" / "inner.py").write_text(INNER.format(by=5), encoding="utf-8")
    assert asked(folder) == "6 0"


def test_a_change_of_a_module_that_it_does_not_import_costs_nothing(tmp_path: Path) -> None:
    folder = package(tmp_path)
    assert asked(folder) == "2 0"
    (folder / "features" / "words.py").write_text("GREETING = 'hello'\n", encoding="utf-8")
    assert asked(folder) == "2 1"


def test_a_change_in_another_folder_is_noticed(tmp_path: Path) -> None:
    folder = package_of_folders(tmp_path)
    assert [asked(folder), asked(folder)] == ["2 0", "2 1"]
    (folder / "features" / "kernel" / "inner.py").write_text(INNER.format(by=5), encoding="utf-8")
    assert asked(folder) == "6 0"
    (folder / "features" / "kernel" / "days.py").write_text("DAYS = 10\n", encoding="utf-8")
    assert [asked(folder), asked(folder)] == ["16 0", "16 1"]


def test_a_change_is_noticed_when_the_compiler_lies_in_a_folder(tmp_path: Path) -> None:
    folder = package_of_folders(tmp_path)
    features = folder / "features"
    (features / "kernel" / "numba_cache.py").rename(features / "kernel" / "numba_code.py")
    for file in (features / "kernel" / "inner.py", features / "outer" / "stepping.py"):
        file.write_text(
            file.read_text(encoding="utf-8").replace(
                "features.kernel.numba_cache", "features.kernel.numba_code"
            ),
            encoding="utf-8",
        )
    assert [asked(folder), asked(folder)] == ["2 0", "2 1"]
    (features / "kernel" / "days.py").write_text("DAYS = 10\n", encoding="utf-8")
    assert asked(folder) == "12 0"
