"""What no file of the project may hold: addresses of registries, machine paths, loose ends."""

from __future__ import annotations

import re

import pytest

# Written in pieces, so that this file passes its own test.
FORBIDDEN = {
    "the host of a package registry": "|".join(
        (
            r"pypi\." + "org",
            r"python" + r"hosted\.org",
            r"registry\." + r"npmjs",
            r"deb\." + "debian",
            r"conda\." + "anaconda",
            r"proxy\." + r"golang",
        )
    ),
    "a path of somebody's machine": "|".join(
        (
            r"(?<![\w.])/" + r"work/",
            r"(?<![\w.])/" + r"tmp/",
            r"(?<![\w.])/" + r"root/",
            r"(?<![\w.])/" + r"home/\w",
            r"/" + r"Users/\w",
            r"C:" + r"\\\\",
        )
    ),
    "a loose end": "|".join(
        (r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bX" + r"XX\b", r"\bHA" + r"CK\b")
    ),
}
BINARY = (".png", ".parquet", ".npz", ".gz", ".xz", ".csv")


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what, tracked_files, pytestconfig):
    found = []
    for name in tracked_files:
        if name.endswith(BINARY):
            continue
        text = (pytestconfig.rootpath / name).read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), start=1):
            if re.search(FORBIDDEN[what], line):
                found.append(f"{name}:{number}: {line.strip()[:80]}")
    assert found == []


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "requirements-bench.txt"]
)
def test_requirements_are_versions_and_hashes_and_nothing_else(name, pytestconfig):
    text = (pytestconfig.rootpath / name).read_text(encoding="utf-8")
    line = re.compile(
        r"[a-z0-9][a-z0-9._-]*(\[[a-z0-9,-]+\])?==[\w.+!-]+( ; [^\\]+)? \\"
        r"|    --hash=sha256:[0-9a-f]{64}( \\)?"
    )
    assert [row for row in text.splitlines() if not line.fullmatch(row)] == []


def pins(text: str) -> set[str]:
    return set(re.findall(r"^[a-z0-9][^\s\\]*==[^\s\\]+", text, flags=re.MULTILINE))


def test_the_test_requirements_contain_the_ones_to_run(pytestconfig):
    run, test = (
        (pytestconfig.rootpath / name).read_text(encoding="utf-8")
        for name in ("requirements.txt", "requirements-dev.txt")
    )
    assert pins(run) <= pins(test)


def test_nothing_that_is_made_at_run_time_is_kept(tracked_files):
    made = re.compile(r"(^|/)(\.venv|\.keepwell|__pycache__|mlruns|[^/]+\.egg-info)/|\.db$")
    assert [name for name in tracked_files if made.search(name)] == []


def test_no_file_is_large(tracked_files, pytestconfig):
    large = {name: (pytestconfig.rootpath / name).stat().st_size for name in tracked_files}
    assert {name: size for name, size in large.items() if size > 4_000_000} == {}
