"""Deliberate breaks of the way from events to features: the tests of the sweep must see each one.

A mutant is one small change of the source, made in a copy of ``features``. There the comparison
with the reference, or a law, has to go red. All of them run in the soak; two run always. What was
compiled is copied along where the change does not touch it, which saves most of the time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = "tests/parity/test_sweep_equals_reference.py"
LAWS = "tests/properties/test_laws_of_timelines.py"
SNAPSHOTS = "tests/properties/test_laws_of_snapshots.py"
COPIED = (
    "features",
    REFERENCE,
    LAWS,
    SNAPSHOTS,
    "tests/parity/reference.py",
    "tests/parity/random_timelines.py",
)

# no shrinking: that a test goes red is enough, and the same examples are drawn every time
CONFTEST = """
from hypothesis import Phase, settings
settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), derandomize=True,
                          database=None)
settings.load_profile("mutants")
import features
assert features.__file__.startswith({copy!r}), features.__file__
"""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change of one line, and the test that has to notice it."""

    name: str
    file: str
    old: str
    new: str
    killed_by: str = REFERENCE + "::test_every_primitive_equals_its_reference"
    runs_always: bool = False


MUTANTS = (
    Mutant(
        name="the end of the window is closed",
        file="kernel/sweep.py",
        old="cutoffs[first] <= opens:",
        new="cutoffs[first] < opens:",
    ),
    Mutant(
        name="the start of the window is open",
        file="kernel/sweep.py",
        old="cutoffs[close] <= closes:",
        new="cutoffs[close] < closes:",
    ),
    Mutant(
        name="an event counts from when it happened",
        file="kernel/sweep.py",
        old="first = max(first, known)",
        new="first = max(first, 0)",
    ),
    Mutant(
        name="events that come later change the past",
        file="kernel/sweep.py",
        old="first = max(first, known)",
        new="first = max(first, 0)",
        killed_by=LAWS + "::test_events_that_are_not_known_yet_change_nothing",
    ),
    Mutant(
        name="what is recorded at the cutoff is known",
        file="events/visibility.py",
        old="return recorded_at < as_of",
        new="return recorded_at <= as_of",
    ),
    Mutant(
        name="a correction is ignored",
        file="kernel/sweep.py",
        old="gone = end_visible(cutoffs, superseded[row])",
        new="gone = n_cutoffs",
    ),
    Mutant(
        name="a correction holds from its own instant",
        file="events/visibility.py",
        old="return as_of <= superseded_at",
        new="return as_of < superseded_at",
        killed_by=LAWS + "::test_a_correction_that_is_not_known_yet_changes_nothing",
    ),
    Mutant(
        name="a lookback counts milliseconds",
        file="compute/encode.py",
        runs_always=True,
        old="else lookback // MICROSECOND",
        new="else lookback // (1000 * MICROSECOND)",
    ),
    Mutant(
        name="a window that ended earlier ends now",
        file="compute/encode.py",
        old="f.ends_before // MICROSECOND",
        new="0 * f.ends_before // MICROSECOND",
    ),
    Mutant(
        name="what is too old for a near window is too old for a far one",
        file="compute/encode.py",
        old="key=_reach_and_span, reverse=True)",
        new="key=_reach_and_span)",
    ),
    Mutant(
        name="of two at an instant the newest comes first",
        file="kernel/ordering.py",
        old="return recorded[one] < recorded[other]",
        new="return recorded[one] > recorded[other]",
    ),
    Mutant(
        name="the input's order decides ties",
        file="kernel/ordering.py",
        old="return has_ids and less(id_words, id_addresses, one, other)",
        new="return False",
        killed_by=LAWS + "::test_the_order_of_the_input_changes_nothing",
    ),
    Mutant(
        name="midnight belongs to the day before",
        file="kernel/sweep.py",
        old="day = happened // DAY_IN_MICROSECONDS - first_day",
        new="day = (happened - 1) // DAY_IN_MICROSECONDS - first_day",
    ),
    Mutant(
        name="unknown is zero",
        file="compute/encode.py",
        runs_always=True,
        old="math.nan if f.when_empty is None",
        new="0.0 if f.when_empty is None",
    ),
    Mutant(
        name="an account is there before it is known",
        file="compute/snapshots.py",
        old="block.known_since[:, None] < cutoffs",
        new="block.known_since[:, None] <= cutoffs",
    ),
    Mutant(
        name="a kind that nobody sent is zero",
        file="compute/snapshots.py",
        old="swept[:, unsent] = np.nan",
        new="swept[:, unsent] = 0.0",
        killed_by=SNAPSHOTS + "::test_a_kind_that_no_source_has_sent_is_unknown_and_not_zero",
    ),
    Mutant(
        name="a kind is known at its first instant",
        file="compute/snapshots.py",
        old="cutoffs[:, None] <= np.array(first",
        new="cutoffs[:, None] < np.array(first",
        killed_by=SNAPSHOTS + "::test_a_kind_is_unknown_until_it_was_first_recorded",
    ),
    Mutant(
        name="distinct is a count",
        file="kernel/aggregations.py",
        old="fresh = span.bits & ~masks[event.mask]",
        new="fresh = span.bits",
    ),
    Mutant(
        name="a mask has one bit too few",
        file="kernel/sweep.py",
        old="CUTOFFS_PER_BLOCK = 64",
        new="CUTOFFS_PER_BLOCK = 65",
        killed_by=REFERENCE + "::test_a_crowded_account_equals_its_reference_whatever_order_"
        "its_events_come_in",
    ),
    Mutant(
        name="first and last are swapped",
        file="kernel/aggregations.py",
        old="if cells[cell].seen == 0:\n                    cells[cell].seen = event.place",
        new="if cells[cell].seen >= 0:\n                    cells[cell].seen = event.place",
    ),
    Mutant(
        name="the largest is at least zero",
        file="kernel/aggregations.py",
        old="if cells[cell].seen == 0 or event.value > cells[cell].number:",
        new="if event.value > cells[cell].number:",
    ),
    Mutant(
        name="all that is known is forgotten at the next cutoff",
        file="kernel/aggregations.py",
        old="cells[cell].number += cells[cell - 1].number",
        new="cells[cell].number += 0 * cells[cell - 1].number",
    ),
    Mutant(
        name="nobody named is nobody there",
        file="kernel/aggregations.py",
        old="return np.nan if cells[cell].seen > 0 else when_empty  # somebody",
        new="return 0.0 if cells[cell].seen > 0 else when_empty  # somebody",
    ),
    Mutant(
        name="a state once entered is never left",
        file="kernel/aggregations.py",
        old="changed, step = span.bits & is_in, -1",
        new="changed, step = span.bits & is_in & np.uint64(0), -1",
    ),
    Mutant(
        name="a state counts before it has lasted",
        file="compute/encode.py",
        old="ripe_window if said > 0 and feature.aggregate.after else window",
        new="window",
    ),
    Mutant(
        name="a state that has lasted ends late",
        file="compute/encode.py",
        old="ripe_window if said > 0 and feature.aggregate.after else window",
        new="ripe_window",
    ),
    Mutant(
        name="the newest day is forgotten",
        file="kernel/aggregations.py",
        old="max(cells[cell].carried, min(cells[cell].spare, cells[cell].number))",
        new="max(cells[cell].carried, min(cells[cell].spare, 0.0))",
    ),
    Mutant(
        name="zero is below zero",
        file="kernel/aggregations.py",
        old="cells[cell].number += event.value < 0",
        new="cells[cell].number += event.value <= 0",
    ),
)


def changed(mutant: Mutant, text: str) -> str:
    """The source with the mutant's change; an error if the source has moved on."""
    if text.count(mutant.old) != 1:
        raise AssertionError(
            f"Mutant {mutant.name!r}: the text to change is not there (once) in features/"
            f"{mutant.file}: {mutant.old!r}. Say the same break in the words of the source now."
        )
    return text.replace(mutant.old, mutant.new)


def copy_of_source(folder: Path) -> Path:
    """The package and the tests that kill; compiled code is kept: its files keep their times."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.pyc"))
        else:
            shutil.copyfile(source, target)
    (folder / "conftest.py").write_text(CONFTEST.format(copy=str(folder)), encoding="utf-8")
    (folder / "pytest.ini").write_text(
        "[pytest]\npythonpath = . tests/parity\naddopts = --import-mode=importlib\n",
        encoding="utf-8",
    )
    return folder


def run_tests(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", test, "-x", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_killed(mutant: Mutant, folder: Path) -> None:
    copy_of_source(folder)
    file = folder / "features" / mutant.file
    file.write_text(changed(mutant, file.read_text(encoding="utf-8")), encoding="utf-8")
    done = run_tests(folder, mutant.killed_by)
    # 1 is "tests failed"; a mutant that can not even be imported (2 to 4) proves nothing
    assert done.returncode == 1, f"survived: {mutant.name}\n{done.stdout[-3000:]}{done.stderr}"
    # red by what it computes: the mutant runs, and a value differs
    assert "assert" in done.stdout.lower(), done.stdout[-3000:]
    for breakage in ("SyntaxError", "NameError", "TypeError"):
        assert breakage not in done.stdout, done.stdout[-3000:]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_text_that_a_mutant_changes_is_there(mutant: Mutant) -> None:
    text = (ROOT / "features" / mutant.file).read_text(encoding="utf-8")
    assert changed(mutant, text) != text


def test_a_mutant_of_a_text_that_is_gone_says_so() -> None:
    with pytest.raises(AssertionError, match="the text to change is not there"):
        changed(
            Mutant(name="gone", file="kernel/sweep.py", old="no such line", new=""), "other lines"
        )


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.runs_always], ids=lambda m: m.name)
def test_a_mutant_is_killed(mutant: Mutant, tmp_path: Path) -> None:
    assert_killed(mutant, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [m for m in MUTANTS if not m.runs_always], ids=lambda m: m.name)
def test_every_mutant_is_killed(mutant: Mutant, tmp_path: Path) -> None:
    assert_killed(mutant, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "test", sorted({mutant.killed_by for mutant in MUTANTS}), ids=lambda test: test.split("::")[1]
)
def test_the_unchanged_source_passes_in_the_same_way(test: str, tmp_path: Path) -> None:
    done = run_tests(copy_of_source(tmp_path), test)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
