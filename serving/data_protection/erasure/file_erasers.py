"""Subjects in files: models with their cards and tables, reports, plans, settings that name somebody.

A text gets the pseudonym. A plan that is about an account goes as a whole, for it is made again by a
command. Of a model the golden rows are looked at: rows of features without an account, by which a
bundle is tested when it is loaded. One that is a row of the subject is taken out.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from features.format_version import PARQUET_KEY
from features.workspace_files import write_atomically
from registry.bundle.bundle import ModelBundle
from registry.bundle.metadata import BundleError, GoldenRows
from registry.integrity.hashed_folder import SIGNATURE
from registry.integrity.sealed_document import seal_again
from serving.data_protection.erasure.damaged_snapshots import whole_snapshots
from serving.data_protection.erasure.database_erasers import replace_in_database
from serving.data_protection.erasure.feature_erasers import rows_naming, scrub_frame
from serving.data_protection.erasure.protocol import SubjectRequest
from serving.data_protection.places import PLACES, files_of
from serving.data_protection.stored_files.declaration import Place

TEXTS = (
    ".json",
    ".jsonl",
    ".md",
    ".html",
    ".csv",
    ".txt",
    ".toml",
    ".prom",
    ".yaml",
    ".yml",
    ".py",
)
MADE_AGAIN = ("plans/*",)
"""Places whose files go as a whole where they name an account."""

PUT_ASIDE = ".*.damaged.tmp"
"""A file or folder that was put aside because it is damaged: nobody writes to it, however new it is."""

DRAFT_SECONDS = 60.0
"""A draft that nobody has written to for so long is of a process that was killed."""


class FileEraser:
    """Erases a subject in texts and tables, in the places that have no eraser of their own."""

    name = "files"
    paths = (
        "limits.toml",
        "artifacts/**",
        "waiting-runs/**",
        "shadow/**",
        "plans/*",
        "reports/**",
        "reports/effects.json",
        "reports/designs/*.json",
        "monitoring/**",
        "monitoring/segments.json",
        "monitoring/as_of_*/*.json",
        "world/**",
        "demo.json",
        "studies/*",
    )

    def find(self, at: SubjectRequest) -> int:
        """How many files."""
        return len(list(self.held(at)))

    def held(self, at: SubjectRequest) -> Iterator[Mapping[str, object]]:
        """Each file, with the rows or lines that name the subject."""
        for place, path in self._files(at):
            if path.suffix == ".parquet":
                rows = rows_naming(pl.read_parquet(path), at.subject)
                if not rows.is_empty():
                    yield {"file": _below(path, at), "rows": rows.to_dicts()}
            elif path.suffix in TEXTS:
                text = path.read_text(encoding="utf-8", errors="surrogateescape")
                if at.subject.is_in(text):
                    lines = [line for line in text.splitlines() if at.subject.is_in(line)]
                    yield {"file": _below(path, at), "place": place.path, "lines": lines}

    def erase(self, at: SubjectRequest) -> int:
        """Write them without the subject."""
        changed = 0
        for place, path in self._files(at):
            if path.suffix == ".parquet":
                left, touched = scrub_frame(pl.read_parquet(path), at.subject)
                if touched:
                    changed += 1
                    draft = path.with_name(f".{path.name}.tmp")
                    left.write_parquet(draft, metadata=_stated_format(path))
                    draft.replace(path)
            elif path.suffix in TEXTS:
                text = path.read_bytes().decode("utf-8", errors="surrogateescape")
                if not at.subject.is_in(text):
                    continue
                changed += 1
                if at.subject.kind == "account" and place.path in MADE_AGAIN:
                    path.unlink()
                else:
                    scrubbed = seal_again(text, at.subject.scrub(text))
                    write_atomically(path, scrubbed.encode("utf-8", errors="surrogateescape"))
        return changed

    def _files(self, at: SubjectRequest) -> Iterator[tuple[Place, Path]]:
        root = at.workspace.root
        for name, place in files_of(root):
            inside = place is not None and place.path in self.paths
            if inside and place is not None and "/bundle/" not in f"/{name}":
                yield place, root / name


class GoldenRowEraser:
    """Removes golden rows of bundles that are rows of the subject."""

    name = "models"
    paths: tuple[str, ...] = ("artifacts/**/bundle/*",)

    def find(self, at: SubjectRequest) -> int:
        """How many golden rows."""
        return sum(int(hit.sum()) for _, _, hit in self._bundles(at))

    def held(self, at: SubjectRequest) -> Iterator[Mapping[str, object]]:
        """Each golden row, by the names of its features."""
        for folder, bundle, hit in self._bundles(at):
            for row in bundle.golden.matrix[hit]:
                names = [feature.name for feature in bundle.contract.features]
                yield {
                    "file": _below(folder, at),
                    "row": dict(zip(names, row.tolist(), strict=True)),
                }

    def erase(self, at: SubjectRequest) -> int:
        """Save the bundles without those rows; a model answers as before."""
        self._finish_swaps(at)
        rows = 0
        for folder, bundle, hit in self._bundles(at):
            if not hit.any():
                continue
            golden = _without(bundle, hit)
            fresh = folder.with_name(f".{folder.name}-erased00")
            shutil.rmtree(fresh, ignore_errors=True)
            replace(bundle, golden=golden).save(fresh, key=at.key)
            if (folder / SIGNATURE).exists() and at.key is None:
                shutil.rmtree(fresh)
                raise BundleError(
                    f"{folder.name} is signed, so it can only be saved again with the key that "
                    f"signed it. Set KEEPWELL_BUNDLE_KEY and run the erasure again."
                )
            before = folder.with_name(f".{folder.name}-before00")
            folder.rename(before)
            fresh.rename(folder)
            _register(at, before, folder)
            rows += int(hit.sum())
        return rows

    def _finish_swaps(self, at: SubjectRequest) -> None:
        """Finish what a killed erasure left between two names of a folder."""
        for base in ("artifacts", "waiting-runs"):
            for before in (at.workspace.root / base).rglob(".bundle-before00"):
                folder = before.with_name("bundle")
                if not folder.exists():
                    before.rename(folder)
                else:
                    _register(at, before, folder)
            for fresh in (at.workspace.root / base).rglob(".bundle-erased00"):
                shutil.rmtree(fresh)

    def _bundles(self, at: SubjectRequest) -> Iterator[tuple[Path, ModelBundle, np.ndarray]]:
        if at.subject.kind != "account":
            return
        rows = _rows_of(at)
        for base in ("artifacts", "waiting-runs"):
            for manifest in sorted((at.workspace.root / base).rglob("bundle/manifest.json")):
                try:
                    bundle = ModelBundle.load(manifest.parent, key=at.key)
                except BundleError:
                    continue  # it is never served either
                yield manifest.parent, bundle, _hits(bundle, rows)


class DraftEraser:
    """Removes files that a killed process did not finish."""

    name = "unfinished files"
    paths = ("**.*.tmp", "**.*-????????/**", "**.secret.*", "events/.spool/**", ".backup/*/**")

    def find(self, at: SubjectRequest) -> int:
        """How many there are, whatever they hold."""
        return len(list(self._old(at)))

    def held(self, at: SubjectRequest) -> Iterator[Mapping[str, object]]:
        """Each by its name: what it holds is whole nowhere."""
        for path in self._old(at):
            yield {"file": _below(path, at)}

    def erase(self, at: SubjectRequest) -> int:
        """Remove them."""
        gone = 0
        for path in list(self._old(at)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            gone += 1
        return gone

    def _old(self, at: SubjectRequest) -> Iterator[Path]:
        now, aside = time.time(), set(at.workspace.root.rglob(PUT_ASIDE))
        yield from aside
        for name, place in files_of(at.workspace.root):
            path = at.workspace.root / name
            is_draft = (
                place is not None and place.kind == "draft" and path not in aside and path.exists()
            )
            if is_draft and now - path.stat().st_mtime > DRAFT_SECONDS:
                yield path


def _register(at: SubjectRequest, before: Path, after: Path) -> None:
    """Let the model store know a bundle by its new fingerprint, and remove the one of before."""
    was, now = (ModelBundle.load(folder, key=at.key).fingerprint for folder in (before, after))
    address = at.workspace.tracking_uri
    file = Path(address.removeprefix("sqlite:///"))
    if address.startswith("sqlite:///") and file.exists():
        replace_in_database(file, was, now)
    shutil.rmtree(before)


def _rows_of(at: SubjectRequest) -> pl.DataFrame:
    found = [
        rows.filter(pl.col("account_id") == at.subject.id) for rows in whole_snapshots(at.workspace)
    ]
    return pl.concat(found, how="diagonal_relaxed") if found else pl.DataFrame()


def _hits(bundle: ModelBundle, rows: pl.DataFrame) -> np.ndarray:
    """Which golden rows are one of these rows of features."""
    golden = bundle.golden.matrix
    names = [feature.name for feature in bundle.contract.features]
    if rows.is_empty() or not set(names) <= set(rows.columns):
        return np.zeros(len(golden), dtype=bool)
    matrix = bundle.contract.matrix(rows)
    return np.array(
        [
            bool(np.any(np.all((matrix == row) | (np.isnan(matrix) & np.isnan(row)), axis=1)))
            for row in golden
        ]
    )


def _without(bundle: ModelBundle, hit: np.ndarray) -> GoldenRows:
    """The other golden rows; where none is left, one of the medians of the training."""
    if not hit.all():
        return GoldenRows(matrix=bundle.golden.matrix[~hit], raw=bundle.golden.raw[~hit])
    middle = bundle.reference.values[:, bundle.reference.values.shape[1] // 2][None, :]
    return GoldenRows(matrix=middle, raw=bundle.form.score(middle))


def _below(path: Path, at: SubjectRequest) -> str:
    return path.relative_to(at.workspace.root).as_posix()


def _stated_format(path: Path) -> dict[str, str]:
    """The metadata of a Parquet file that say which format it has."""
    stated = pl.read_parquet_metadata(path).get(PARQUET_KEY)
    return {} if stated is None else {PARQUET_KEY: stated}


def unread_places(paths: set[str]) -> list[str]:
    """Places about somebody that none of these paths covers."""
    return [place.path for place in PLACES if place.about != "nobody" and place.path not in paths]
