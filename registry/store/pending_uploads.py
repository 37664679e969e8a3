"""Runs that were trained while the tracking server was away and wait for their upload.

A run is saved in a folder of its own, in one step, and checked by hash (and signature, where
there is a key) when it is read. ``upload`` hands each to the store, oldest first, and removes it
only when it is registered; after a kill it goes on where it was, and no version is made twice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from registry.bundle import format as bundle_format
from registry.bundle.bundle import BundleError, ModelBundle
from registry.integrity.hashed_folder import (
    HashedFolderError,
    read_hashed_folder,
    write_hashed_folder,
)
from registry.integrity.signing import SigningKey
from registry.store.store import ModelStore, ModelStoreError, TrainingRun, UnknownModelError

KIND, VERSION = "keepwell waiting run", 1
FORMULA_EVIDENCE = {"what": "calibration of the formula"}
RUN_FILE, RUN_ID = "run.json", "run_id"


class PendingUploadError(ModelStoreError):
    """A run that waits cannot be saved, or was changed since."""


@dataclass(frozen=True, kw_only=True)
class UploadedRun:
    """A run that waited and is registered now."""

    label: str
    name: str
    version: int


@dataclass(frozen=True, kw_only=True)
class PendingUploads:
    """The folder of the runs that wait."""

    folder: Path
    key: SigningKey | None = None

    def save(self, run: TrainingRun) -> Path:
        """Save a run until it can be uploaded; returns its folder.

        Raises:
            PendingUploadError: there is no room, or the folder cannot be written.
        """
        place = self.folder / (
            f"{run.started_at:%Y%m%dT%H%M%S%f}-{run.label}-{run.bundle.fingerprint[:12]}"
        )
        try:
            write_hashed_folder(place, _encoded(run), kind=KIND, version=VERSION, key=self.key)
        except (OSError, HashedFolderError) as exc:
            raise PendingUploadError(
                f"The tracking store does not answer, and the run cannot be kept in "
                f"{self.folder.name} either: {exc}. Make room there, or bring the tracking store "
                f"back, and train again; the same data and seed give the same model."
            ) from exc
        return place

    def places(self) -> tuple[Path, ...]:
        """The folders of the runs that wait, oldest first."""
        if not self.folder.is_dir():
            return ()
        return tuple(
            sorted(
                each
                for each in self.folder.iterdir()
                if each.is_dir() and not each.name.startswith(".")
            )
        )

    def read(self, place: Path) -> TrainingRun:
        """The run in a folder.

        Raises:
            PendingUploadError: it was altered, cut short, or another key signed it.
        """
        try:
            return _decoded(read_hashed_folder(place, kind=KIND, version=VERSION, key=self.key))
        except (HashedFolderError, BundleError, KeyError, ValueError) as exc:
            raise PendingUploadError(
                f"The waiting run {place.name} cannot be used: {exc} Delete the folder and train "
                f"again; the other runs wait unharmed."
            ) from exc

    def upload(
        self, store: ModelStore, *, by: str, clock: Callable[[], datetime]
    ) -> Iterator[UploadedRun]:
        """Give every run to the store; each is removed once it is registered.

        The calibrated health formula serves at once, as after any training; a model waits as
        challenger.
        """
        for place in self.places():
            run = self.read(place)
            version = self._registered(store, run, place)
            if run.label.endswith("-formula"):
                store.promote(run.label, version, evidence=FORMULA_EVIDENCE, by=by, at=clock())
            shutil.rmtree(place)
            self._note(place).unlink(missing_ok=True)
            yield UploadedRun(label=run.label, name=run.name, version=version)

    def _registered(self, store: ModelStore, run: TrainingRun, place: Path) -> int:
        note = self._note(place)
        # after a kill go on with the recorded run, unless the server has lost it since
        with suppress(FileNotFoundError, UnknownModelError):
            run_id = note.read_text(encoding="utf-8")
            for known in store.versions(run.label):
                if known.run_id == run_id:
                    return known.version
            return store.register(run.label, run_id)
        run_id = store.record_run(run)
        draft = note.with_suffix(".draft")
        draft.write_text(run_id, encoding="utf-8")
        draft.replace(note)
        return store.register(run.label, run_id)

    @staticmethod
    def _note(place: Path) -> Path:
        """The file with the id of a run that was recorded and not yet registered."""
        return place.with_name(f".{place.name}.{RUN_ID}")


def _encoded(run: TrainingRun) -> dict[str, bytes]:
    told = {
        "label": run.label, "name": run.name, "started_at": run.started_at.isoformat(),
        "ended_at": run.ended_at.isoformat(), "params": dict(run.params),
        "metrics": dict(run.metrics), "tags": dict(run.tags),
    }  # fmt: skip
    return {
        RUN_FILE: json.dumps(told, indent=1, sort_keys=True).encode(),
        **{f"bundle-{name}": b for name, b in bundle_format.encode(run.bundle).items()},
        **{f"plot-{name}": picture for name, picture in run.plots.items()},
        **{f"document-{name}": text.encode() for name, text in run.documents.items()},
    }


def _decoded(files: dict[str, bytes]) -> TrainingRun:
    told: dict[str, Any] = json.loads(files[RUN_FILE])
    parts: dict[str, dict[str, bytes]] = {"bundle": {}, "plot": {}, "document": {}}
    for file, content in files.items():
        kind, is_part, name = file.partition("-")
        if is_part:
            parts[kind][name] = content
    return TrainingRun(
        label=told["label"], name=told["name"],
        bundle=ModelBundle.of(bundle_format.decode(parts["bundle"])),
        started_at=datetime.fromisoformat(told["started_at"]),
        ended_at=datetime.fromisoformat(told["ended_at"]), params=told["params"],
        metrics=told["metrics"], tags=told["tags"], plots=parts["plot"],
        documents={name: text.decode() for name, text in parts["document"].items()},
    )  # fmt: skip
