"""Subjects in events, snapshots and the online store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from features.catalogue.feature import Feature
from features.compute.backfill import snapshot_digest
from features.compute.snapshot_store import SnapshotStore
from features.events.schema import KINDS
from features.events.subject import Subject, is_short
from features.lake.erased_subjects import WRITTEN
from features.lake.forget import LakeSubjects
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from serving.data_protection.erasure.damaged_snapshots import mend_snapshots, whole_snapshots
from serving.data_protection.erasure.protocol import SubjectRequest


class EventEraser:
    """Erases events, their corrections, and refused rows."""

    name = "events"
    paths = ("events/*.parquet", "quarantine/*.parquet")

    def find(self, at: SubjectRequest) -> int:
        """How many rows."""
        return lake_subjects(at).held(at.subject).rows

    def held(self, at: SubjectRequest) -> Iterator[Mapping[str, object]]:
        """Every row."""
        found = lake_subjects(at).held(at.subject)
        yield from found.events.iter_rows(named=True)
        for row in found.quarantined.iter_rows(named=True):
            yield {"refused": True, **row}

    def erase(self, at: SubjectRequest) -> int:
        """Write the files anew, without the subject."""
        return lake_subjects(at).erase(at.subject)


class SnapshotEraser:
    """Erases features and attributes of accounts at past moments."""

    name = "snapshots"
    paths = ("snapshots/*.parquet",)

    def find(self, at: SubjectRequest) -> int:
        """How many rows; a damaged snapshot counts as one, since it may hold some."""
        damaged = SnapshotStore(at.workspace.snapshots_dir).damaged()
        return sum(one.height for one in self._rows(at)) + len(damaged)

    def held(self, at: SubjectRequest) -> Iterator[Mapping[str, object]]:
        """Every row."""
        for rows in self._rows(at):
            yield from rows.iter_rows(named=True)

    def erase(self, at: SubjectRequest) -> int:
        """Remove the rows of an account; put the pseudonym in place of a person.

        No other row changes, since none reads another account, and a person is counted as one
        under either name. So a snapshot that fitted the lake of before fits the one of now.
        """
        store, changed = (
            SnapshotStore(at.workspace.snapshots_dir),
            len(mend_snapshots(at.workspace)),
        )
        now = snapshot_digest(Lake(at.workspace.events_dir).manifest, at.workspace.settings)
        for moment in store.moments():
            rows, digest = store.read(moment), store.digest(moment) or ""
            fits = digest == at.digest_before
            left, touched = scrub_frame(rows, at.subject)
            if not touched and not fits:
                continue
            changed += touched
            if left.is_empty():
                store.remove(moment)
            else:
                store.write(left, digest=now if fits else digest)
        return changed

    def _rows(self, at: SubjectRequest) -> Iterator[pl.DataFrame]:
        for rows in whole_snapshots(at.workspace):
            yield rows_naming(rows, at.subject)


class OnlineStoreEraser:
    """Erases the newest features of accounts, in the workspace or in Redis."""

    name = "online features"
    paths = ("online.db",)

    def find(self, at: SubjectRequest) -> int:
        """How many accounts."""
        return self._rows(at).height

    def held(self, at: SubjectRequest) -> Iterator[Mapping[str, object]]:
        """The newest features of each account."""
        yield from self._rows(at).iter_rows(named=True)

    def erase(self, at: SubjectRequest) -> int:
        """Remove an account; write rows that name somebody again without the name."""
        rows, features = self._rows(at), WorkspaceFeatures(at.workspace)
        if rows.is_empty():
            features.forget(())
            return 0
        left, _ = scrub_frame(rows, at.subject)
        if not left.is_empty():
            features.publish(left)
        gone = set(rows["account_id"]) - set(left["account_id"] if not left.is_empty() else ())
        features.forget(sorted(gone))
        return rows.height

    def _rows(self, at: SubjectRequest) -> pl.DataFrame:
        if not SnapshotStore(at.workspace.snapshots_dir).moments():
            return pl.DataFrame()
        if at.subject.kind == "account":
            return WorkspaceFeatures(at.workspace).online([at.subject.id])
        newest = next(whole_snapshots(at.workspace, newest_first=True), None)
        accounts = () if newest is None else newest["account_id"].to_list()
        lake = Lake(at.workspace.events_dir).scan().select("account_id").unique().collect()
        every = sorted({*accounts, *lake["account_id"]})
        online = WorkspaceFeatures(at.workspace).online(every)
        return online if online.is_empty() else rows_naming(online, at.subject)


def lake_subjects(at: SubjectRequest) -> LakeSubjects:
    """The lake of a workspace, with the properties that stay of what a person did.

    They are those that the kind declares or a feature reads, without those in which people write.
    """
    workspace = at.workspace
    read = {kind.name: {*kind.properties} for kind in KINDS}
    for feature in workspace.settings.catalogue.features:
        if isinstance(feature, Feature):
            names = {*feature.where, *feature.aggregate.state, feature.aggregate.of}
            for kind in feature.reads:
                read.setdefault(kind, set()).update(name for name in names if name)
    stays = {kind: names.difference(WRITTEN) for kind, names in read.items()}
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    return LakeSubjects(lake, stays, written=at.written)


def current_digest(workspace: Workspace) -> str:
    """The digest of a snapshot that fits the lake and the settings of now."""
    return snapshot_digest(Lake(workspace.events_dir).manifest, workspace.settings)


def rows_naming(frame: pl.DataFrame, subject: Subject) -> pl.DataFrame:
    """The rows of a table in which any text is the subject or names it."""
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    if not texts or frame.is_empty():
        return frame.clear()
    found = [
        any(text is not None and subject.scrub_value(text) != text for text in row)
        for row in frame.select(_texts_to_look_at(texts, subject)).iter_rows()
    ]
    return frame.filter(pl.Series(found, dtype=pl.Boolean))


def scrub_frame(frame: pl.DataFrame, subject: Subject) -> tuple[pl.DataFrame, int]:
    """A table without a subject, and how many rows were removed or changed."""
    named = rows_naming(frame, subject).height
    if not named:
        return frame, 0
    if subject.kind == "account" and "account_id" in frame.columns:
        frame = frame.filter(pl.col("account_id") != subject.id)
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    return frame.with_columns(
        pl.col(name).map_elements(subject.scrub_value, return_dtype=pl.String)
        for name in _texts_to_look_at(texts, subject)
    ), named


def _texts_to_look_at(texts: list[str], subject: Subject) -> list[str]:
    """The columns in which a value can be the subject: a short id is an id only in some."""
    naming = ("account_id", "parent", "user_id", "csm", "by", "owner", "name")
    return [name for name in texts if name in naming] if _is_short_only(subject) else texts


def _is_short_only(subject: Subject) -> bool:
    return all(is_short(name) for name in subject.all_names)
