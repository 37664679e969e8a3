"""A kernel that was kept on disk is stale once any code that it was made of has changed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from numba.core.dispatcher import Dispatcher

import features.kernel.numba_cache
import registry.trees.numba_cache

ROOT = Path(features.__file__).parents[1]
PACKAGES = ("features", "registry", "training", "experiments", "serving")
COMPILERS = (features.kernel.numba_cache, registry.trees.numba_cache)
DECORATORS = {
    name
    for compiler in COMPILERS
    for name, value in vars(compiler).items()
    if getattr(value, "__module__", None) == compiler.__name__
}


def imports_of(file: Path) -> list[tuple[str, str, str]]:
    """Module, name and name in the file of whatever it imports, in the order of its lines."""
    package = ".".join(file.relative_to(ROOT).parent.parts)
    found = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found += [(alias.name, "", "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            found += [(module, alias.name, alias.asname or alias.name) for alias in node.names]
    return found


def holds_compiled_code(file: Path) -> bool:
    text = file.read_bytes()
    return (b"numba" in text or b"compiled" in text) and any(
        module.partition(".")[0] == "numba" or name in DECORATORS
        for module, name, _ in imports_of(file)
    )


@pytest.fixture(scope="module")
def modules() -> list[ModuleType]:
    """All modules of the project that hold compiled code, wherever they lie."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return [
        import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
        for file in files
        if holds_compiled_code(file)
    ]


@pytest.fixture(scope="module")
def kernels(modules: list[ModuleType]) -> list[Dispatcher]:
    """All functions that numba keeps on disk."""
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Dispatcher) and value._cache.cache_path is not None
    ]


def origin(module: ModuleType, name: str) -> ModuleType:
    """The module that a name was imported from, through every ``__init__`` that passes it on."""
    for source, its_name, name_here in imports_of(Path(str(module.__file__))):
        if name_here == name and source.partition(".")[0] in PACKAGES:
            return origin(sys.modules[source], its_name)
    return module


def made_of(kernel: Dispatcher) -> Iterator[ModuleType]:
    """The modules of the functions and values that numba puts into a kernel."""
    function = kernel.py_func
    if function.__module__ not in sys.modules:  # written by code: what it takes, it is given
        return
    module = sys.modules[function.__module__]
    yield module
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield origin(module, name)
            if isinstance(function.__globals__[name], Dispatcher):
                yield from made_of(function.__globals__[name])


def digest_after_edit(kernel: Dispatcher, edited: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The digest that a kernel is stamped with, after one more line in a file."""
    package = kernel.py_func.__module__.partition(".")[0]
    compiler: Any = (
        features.kernel.numba_cache if package == "features" else registry.trees.numba_cache
    )
    with monkeypatch.context() as patch:
        patch.setattr(
            compiler,
            "_text",
            lambda file: file.read_text(encoding="utf-8") + "\n#" * (file == edited),
        )
        digest: str = compiler.source_digest.__wrapped__(Path(kernel.py_func.__code__.co_filename))
    return digest


def test_an_edit_in_a_module_that_a_kernel_is_made_of_changes_its_digest(
    kernels: list[Dispatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    unseen = set()
    for kernel in kernels:
        plain = digest_after_edit(kernel, Path(), monkeypatch)
        assert plain in kernel._cache._cache_file._source_stamp, kernel
        unseen |= {
            (kernel.py_func.__qualname__, module.__name__)
            for module in made_of(kernel)
            if digest_after_edit(kernel, Path(str(module.__file__)), monkeypatch) == plain
        }
    assert unseen == set()


def test_no_compiled_code_lies_where_no_kernel_sees_it(
    modules: list[ModuleType], kernels: list[Dispatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(modules) > 15
    assert {compiler.__name__ for compiler in COMPILERS} <= {each.__name__ for each in modules}
    plain = [digest_after_edit(kernel, Path(), monkeypatch) for kernel in kernels]
    assert [
        module.__name__
        for module in modules
        if plain
        == [
            digest_after_edit(kernel, Path(str(module.__file__)), monkeypatch) for kernel in kernels
        ]
    ] == []


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import features.one", {"one"}),
        ("import features.inner.leaf as leaf", {"inner/leaf"}),
        ("from features.inner import A", {"inner/__init__", "one"}),
        ("from features.inner import leaf", {"inner/__init__", "inner/leaf", "one"}),
        (
            "from features.inner import (  # (two)\n    A,  # (a)\n    leaf,\n)",
            {"inner/__init__", "inner/leaf", "one"},
        ),
        ("from features.inner import A, \\\n    leaf", {"inner/__init__", "inner/leaf", "one"}),
        ("from . import one", {"__init__", "one"}),
        ("from .inner.leaf import A", {"inner/leaf"}),
        ("def late():\n    from features.one import A", {"one"}),
        ("import numpy\nfrom features_of_others import one", set()),
    ],
)
def test_imports_of_every_form_are_followed(
    compiler: Any, text: str, found: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "features"
    (package / "inner").mkdir(parents=True)
    for name, content in {
        "__init__": "",
        "one": "import features.start",
        "inner/leaf": "",
        "inner/__init__": "from ..one import A",
        "start": text,
    }.items():
        (package / f"{name}.py").write_text(content, encoding="utf-8")
    monkeypatch.setattr(compiler, "ROOT", tmp_path)

    def digests() -> dict[str, str]:
        seen = {}
        for name in ("__init__", "one", "inner/__init__", "inner/leaf"):
            file = package / f"{name}.py"
            before = file.read_text(encoding="utf-8")
            file.write_text(f"{before}\n#", encoding="utf-8")
            for cached in (compiler._text, compiler._imported_files, compiler.source_digest):
                cached.cache_clear()
            seen[name] = compiler.source_digest(package / "start.py")
            file.write_text(before, encoding="utf-8")
        return seen

    plain = compiler.source_digest(package / "start.py")
    assert {name for name, digest in digests().items() if digest != plain} == found


def test_numba_keeps_nothing_that_is_not_stamped() -> None:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    assert {
        file
        for file in files
        if "cache=True" in file.read_text(encoding="utf-8")
        and any(module == "numba" for module, _, _ in imports_of(file))
    } == {Path(compiler.__file__) for compiler in COMPILERS}
