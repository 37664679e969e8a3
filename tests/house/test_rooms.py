"""The middle level: folders of a package, what they hold, what they show, and how they lie."""

from __future__ import annotations

import ast
import graphlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp
import pytest

PACKAGES = ("features", "training", "serving", "experiments", "registry")
MOST_FOLDERS = (
    13  # serving has one more than a dozen since the protection of data is no part of another
)
MOST_MODULES = 12
MOST_FLOORS = {"features": 7, "training": 6, "experiments": 5, "registry": 5, "serving": 9}

every_package = pytest.mark.parametrize("package", PACKAGES)


@pytest.fixture(scope="module")
def imports() -> Mapping[str, frozenset[str]]:
    """The modules that each module imports; imports for type checking alone are left out."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    return {
        module: frozenset(graph.find_modules_directly_imported_by(module))
        for module in graph.modules
    }


def folders(root: Path) -> list[Path]:
    """Every folder of a package that holds modules, the package itself left out."""
    return sorted(
        {path.parent for package in PACKAGES for path in (root / package).rglob("*.py")}
        - {root / package for package in PACKAGES}
    )


def modules_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def exported(folder: Path) -> tuple[str, ...] | None:
    """The names of ``__all__``, None where there is none."""
    for node in ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return tuple(ast.literal_eval(node.value))
    return None


def child_of(parent: str, module: str) -> str | None:
    """The part of a module's name below a package: ``features.lake`` of ``features.lake.parts``."""
    inside = module.startswith(f"{parent}.")
    return module[len(parent) + 1 :].split(".")[0] if inside else None


def neighbours(parent: str, imports: Mapping[str, frozenset[str]]) -> dict[str, set[str]]:
    """Which children of a folder import which others."""
    graph: defaultdict[str, set[str]] = defaultdict(set)
    for module, imported in imports.items():
        if (child := child_of(parent, module)) is not None:
            graph[child] |= {
                other for one in imported if (other := child_of(parent, one)) not in (None, child)
            }
    return graph


def floors(graph: Mapping[str, set[str]]) -> int:
    """The longest chain of imports, counted in rooms."""
    level: dict[str, int] = {}
    for room in graphlib.TopologicalSorter(graph).static_order():
        level[room] = 1 + max((level[below] for below in graph.get(room, ())), default=0)
    return max(level.values())


def test_floors_count_the_longest_chain():
    assert floors({"roof": {"wall"}, "wall": {"ground"}, "shed": {"ground"}, "ground": set()}) == 3


@every_package
def test_a_package_has_few_folders(package, pytestconfig):
    below = [
        path.name
        for path in (pytestconfig.rootpath / package).iterdir()
        if (path / "__init__.py").exists()
    ]
    assert len(below) <= MOST_FOLDERS, below


def test_a_folder_has_few_modules(pytestconfig):
    full = {
        str(folder.relative_to(pytestconfig.rootpath)): len(modules_in(folder))
        for folder in folders(pytestconfig.rootpath)
        if len(modules_in(folder)) > MOST_MODULES
    }
    assert full == {}


def test_a_folder_says_what_is_inside_and_what_others_may_use(pytestconfig):
    """``__all__`` lists modules and folders; without it nothing is for others."""
    wrong = []
    for folder in folders(pytestconfig.rootpath):
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(text)) or ""
        name = str(folder.relative_to(pytestconfig.rootpath))
        if len(docstring.split()) < 10:
            wrong.append(f"{name}: no docstring that says what is inside")
        if exported(folder) is None:
            wrong.append(f"{name}: no __all__")
    assert wrong == []


def uses_of_others(root: Path, imports: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, str]]:
    """Each import of a module of another folder that this folder's ``__all__`` does not list."""
    for module, imported in sorted(imports.items()):
        for one in sorted(imported):
            parts = one.split(".")
            for depth in range(2, len(parts)):
                folder, child = parts[:depth], parts[depth]
                outside = module.split(".")[:depth] != folder
                listed = exported(root.joinpath(*folder))
                if outside and (child.startswith("_") or child not in (listed or ())):
                    yield module, one


def test_other_folders_import_only_what_is_exported(pytestconfig, imports):
    assert list(uses_of_others(pytestconfig.rootpath, imports)) == []


def test_no_folder_has_a_circle_of_imports(imports):
    """Also not within a folder: its modules and its folders are in layers."""
    parents = {module.rsplit(".", 1)[0] for module in imports if "." in module}
    for parent in sorted(parents):
        try:
            graphlib.TopologicalSorter(neighbours(parent, imports)).prepare()
        except graphlib.CycleError as circle:
            pytest.fail(f"{parent}: {' → '.join(circle.args[1])}")


@every_package
def test_a_package_is_low(package, imports):
    assert floors(neighbours(package, imports)) <= MOST_FLOORS[package]
