"""Take a subject out of the lake: parts and quarantine are written anew, and the old files removed.

Of an account every row goes. Of a person the rows stay, since they count the use of an account: the
person becomes a pseudonym that is random and the same everywhere, the ids of the events are drawn
anew, and of the properties only those stay that features read.

The new files take effect with one manifest, as every batch does. A process that is killed leaves the
lake of before or of after; files that no manifest lists are removed by the next batch or erasure.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from features.events.provenance import is_own
from features.events.schema import EVENT_SCHEMA, PROPERTIES
from features.events.subject import PSEUDONYM_PREFIX, Subject
from features.lake.deduplication.ids import fingerprint
from features.lake.deduplication.key_index import keys_path
from features.lake.deduplication.row_keys import with_keys
from features.lake.deduplication.spool import clear_spool
from features.lake.erased_subjects import BY, WRITTEN
from features.lake.integrity import with_digests
from features.lake.lake import Lake
from features.lake.manifest import MANIFEST, Manifest, manifest_json
from features.lake.parts import row_groups, sync_folder, write_frame, write_part_in_groups
from features.workspace_files import hold_lock, write_atomically

WAIT_SECONDS = 60.0
"""How long an erasure waits for a batch that is being written."""

GRACE_SECONDS = 2.0
"""How long the old files stay after the new manifest, for readers that are about to open them."""

PLACE = "place"
"""Where a row stands among those of its group."""

HALF = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class HeldInLake:
    """What a lake holds about a subject."""

    events: pl.DataFrame
    quarantined: pl.DataFrame

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.events.height + self.quarantined.height


@dataclass
class _Changes:
    """What one pass over a lake changed so far."""

    rows: int = 0
    events: int = 0
    fingerprint: int = 0
    ids: dict[str, str | None] = field(default_factory=dict)  # of events: the new id; None: gone
    touched: int = 0


class LakeSubjects:
    """Finds and erases subjects in one lake.

    Args:
        lake: the lake.
        read_properties: by kind of event, the properties that stay of a person's events.
        written: ids of events whose texts a person wrote, without being named there.
    """

    def __init__(
        self,
        lake: Lake,
        read_properties: Mapping[str, Collection[str]],
        *,
        written: Collection[str] = (),
    ) -> None:
        self._lake = lake
        self._read = read_properties
        self._written = frozenset(written)

    def held(self, subject: Subject) -> HeldInLake:
        """Every row that is about the subject or names it."""
        manifest = self._lake.manifest
        found = [self._named(name, subject) for name in manifest.parts]
        refused = [
            _refused(pl.read_parquet(self._lake.quarantine_folder / name), subject, self._written)
            for name in manifest.quarantine
        ]
        return HeldInLake(
            events=pl.concat([pl.DataFrame(schema=EVENT_SCHEMA), *found]),
            quarantined=pl.concat(refused) if refused else pl.DataFrame(),
        )

    def erase(self, subject: Subject, *, grace_seconds: float = GRACE_SECONDS) -> int:
        """Erase it; how many rows went or were changed. Old files are gone when it returns.

        Raises:
            WorkspaceBusyError: another process writes events for longer than a minute.
            LakeDamagedError: a file of the lake is not as it was written.
        """
        lake = self._lake
        busy = f"Another process is writing events to {lake.folder} for long. Nothing was changed."
        with hold_lock(lake.folder, wait_seconds=WAIT_SECONDS, busy=busy):
            clear_spool(lake.folder)
            lake.check()  # what is damaged is not written anew as if it were whole
            old = lake.manifest
            new, changes = self._rewritten(old, subject)
            if changes.touched:
                new = with_digests(new, old, folder=lake.folder, quarantine=lake.quarantine_folder)
                write_atomically(lake.folder / MANIFEST, manifest_json(new))
                sync_folder(lake.folder)
                time.sleep(grace_seconds)
            remove_unlisted(lake)
        return changes.touched

    def _rewritten(self, old: Manifest, subject: Subject) -> tuple[Manifest, _Changes]:
        generation, changes = old.generation + 1, _Changes()
        names: dict[str, tuple[str, ...]] = {}
        parts: list[str] = []
        for name in old.parts:
            parts += self._part(
                name, f"{generation:06d}-erased-{len(parts)}.parquet", subject, changes
            )
        names["parts"] = tuple(parts)
        names["superseded"] = tuple(self._superseded(old, generation, changes))
        names["quarantine"] = tuple(self._quarantine(old, generation, subject, changes))
        manifest = replace(
            old,
            generation=generation,
            **names,  # type: ignore[arg-type]
            retired=(),
            retired_earlier={},
            rows=old.rows + changes.rows,
            events=old.events + changes.events,
            fingerprint=plus(old.fingerprint, changes.fingerprint),
        )
        return manifest, changes

    def _part(self, name: str, new_name: str, subject: Subject, changes: _Changes) -> Iterator[str]:
        naming = self._named(name, subject)
        if naming.is_empty():
            yield name
            return
        changes.touched += naming.height
        versions = naming.select(pl.struct("event_id", "recorded_at")).to_series().implode()
        groups = (
            self._group(group, versions, subject, changes)
            for group in row_groups(self._lake.folder / name)
        )
        if write_part_in_groups(groups, self._lake.folder / new_name):
            yield new_name

    def _group(
        self, group: pl.DataFrame, versions: pl.Series, subject: Subject, changes: _Changes
    ) -> pl.DataFrame:
        """The rows of a group as they stay, in their order; what changed is counted."""
        group = group.with_row_index(PLACE)
        is_named = group.select(pl.struct("event_id", "recorded_at").is_in(versions)).to_series()
        if not is_named.any():
            return group.drop(PLACE)
        before = group.filter(is_named)
        after = self._changed(before, subject, changes)
        changes.rows += after.height - before.height
        changes.events += int(after["event_count"].sum()) - int(before["event_count"].sum())
        changes.fingerprint = plus(
            changes.fingerprint,
            minus(
                fingerprint(with_keys(after.drop(PLACE))),
                fingerprint(with_keys(before.drop(PLACE))),
            ),
        )
        return pl.concat([group.filter(~is_named), after]).sort(PLACE).drop(PLACE)

    def _named(self, name: str, subject: Subject) -> pl.DataFrame:
        """The rows of a part that name a subject, or hold a text that the subject wrote."""
        events = pl.scan_parquet(self._lake.folder / name)
        naming = _naming(events, subject)
        if not self._written:
            return naming
        theirs = (
            events.select(*EVENT_SCHEMA)
            .filter(
                pl.col("event_id").is_in(pl.Series(sorted(self._written)).implode()),
                pl.any_horizontal(
                    *(
                        pl.col("properties").str.contains(f'"{one}":', literal=True)
                        for one in WRITTEN
                    )
                ),
            )
            .collect()
        )
        return pl.concat([naming, theirs]).unique(["event_id", "recorded_at"], maintain_order=True)

    def _changed(self, rows: pl.DataFrame, subject: Subject, changes: _Changes) -> pl.DataFrame:
        """The rows that name a subject, as they stay; those of an account are gone."""
        kept = []
        for row in rows.iter_rows(named=True):
            is_theirs = subject.is_value(row["account_id"])
            if subject.kind == "account" and is_theirs:
                changes.ids[row["event_id"]] = None
                continue
            by_person = subject.kind == "person" and subject.is_value(row["user_id"])
            if is_theirs:
                row["account_id"] = subject.pseudonym
            if row["user_id"] is not None:
                row["user_id"] = subject.scrub_value(row["user_id"])
            if (by_person and not is_own(row["event_id"])) or subject.is_in(row["event_id"]):
                row["event_id"] = _new_id(row["event_id"], changes)
            row["properties"] = self._properties(row, subject, by_person=by_person)
            kept.append(row)
        return pl.DataFrame(kept, schema=rows.schema)

    def _properties(self, row: Mapping[str, str], subject: Subject, *, by_person: bool) -> str:
        properties = json.loads(row["properties"])
        if by_person:
            read = self._read.get(row["kind"], ())
            properties = {name: value for name, value in properties.items() if name in read}
        changed = {
            name: subject.scrub_value(value) if isinstance(value, str) else value
            for name, value in properties.items()
        }
        if changed.get(BY) == subject.pseudonym or row["event_id"] in self._written:
            changed = {name: value for name, value in changed.items() if name not in WRITTEN}
        return PROPERTIES.encode(changed)

    def _superseded(self, old: Manifest, generation: int, changes: _Changes) -> Iterator[str]:
        for number, name in enumerate(old.superseded):
            frame = pl.read_parquet(self._lake.folder / name)
            hit = frame["event_id"].is_in(pl.Series(list(changes.ids), dtype=pl.String).implode())
            if not hit.any():
                yield name
                continue
            gone = [one for one, new in changes.ids.items() if new is None]
            renamed = {one: new for one, new in changes.ids.items() if new is not None}
            left = frame.filter(~pl.col("event_id").is_in(gone)).with_columns(
                pl.col("event_id").replace(list(renamed), list(renamed.values()))
            )
            if not left.is_empty():
                new_name = f"{generation:06d}-erased-superseded-{number}.parquet"
                write_frame(left, self._lake.folder / new_name)
                yield new_name

    def _quarantine(
        self, old: Manifest, generation: int, subject: Subject, changes: _Changes
    ) -> Iterator[str]:
        folder = self._lake.quarantine_folder
        for number, name in enumerate(old.quarantine):
            frame = pl.read_parquet(folder / name)
            named = _refused(frame, subject, self._written)
            if named.is_empty():
                yield name
                continue
            changes.touched += named.height
            left = frame.join(named, on="row_id", how="anti")
            if not left.is_empty():
                new_name = f"{generation:06d}-erased-refused-{number}.parquet"
                write_frame(left, folder / new_name)
                yield new_name


def remove_unlisted(lake: Lake) -> None:
    """Remove every file that the manifest does not list, of this change or of a killed one."""
    manifest = lake.manifest
    listed = {*manifest.retired, *manifest.retired_earlier}
    parts = {*manifest.parts, *(keys_path(Path(name)).name for name in manifest.parts)}
    for folder, keep in (
        (lake.folder, {*parts, *manifest.superseded, *listed}),
        (lake.quarantine_folder, {*manifest.quarantine, *listed}),
    ):
        for path in [*folder.glob("*.parquet"), *folder.glob("*.keys"), *folder.glob(".*.tmp")]:
            if path.name not in keep:
                path.unlink(missing_ok=True)


def _naming(events: pl.LazyFrame, subject: Subject) -> pl.DataFrame:
    """The rows that are about a subject or name it in any text."""
    texts = ("properties", "event_id", "user_id")
    names = pl.Series(subject.all_names, dtype=pl.String).implode()
    is_about = pl.col("user_id").is_in(names).fill_null(value=False)
    is_about = is_about | pl.col("account_id").is_in(names)
    may_name = pl.any_horizontal(
        *(
            pl.col(name).str.contains(needle, literal=True).fill_null(value=False)
            for name in texts
            for needle in subject.needles
        )
    )
    found = events.select(*EVENT_SCHEMA).filter(is_about | may_name).collect()
    if found.is_empty():
        return found
    sure = found.select(is_about.alias("sure"))["sure"].to_list()
    keep = [
        certain
        or subject.is_in(properties)
        or subject.is_in(event_id)
        or subject.is_in(user_id or "")
        for certain, properties, event_id, user_id in zip(
            sure, *(found[name].to_list() for name in texts), strict=True
        )
    ]
    return found.filter(pl.Series(keep, dtype=pl.Boolean))


def _refused(rows: pl.DataFrame, subject: Subject, written: Collection[str]) -> pl.DataFrame:
    """Refused rows that name a subject, or are events whose texts it wrote. Which column names whom
    is not known of a row that was refused, so any value that is the name counts."""
    quoted = [f'"{needle}"' for needle in subject.needles]
    keep = [
        any(subject.is_in(text or "") for text in (raw, reason, file))
        or any(one in (raw or "") for one in quoted)
        or (bool(written) and _event_id(raw) in written)
        for raw, reason, file in rows.select("raw", "reason", "file").iter_rows()
    ]
    return rows.filter(pl.Series(keep, dtype=pl.Boolean))


def _event_id(raw: str | None) -> str | None:
    """The id of the event that a refused row would have been; None where it holds none."""
    try:
        row = json.loads(raw or "")
    except ValueError:
        return None
    event_id = row.get("event_id") if isinstance(row, dict) else None
    return event_id if isinstance(event_id, str) else None


def _new_id(event_id: str, changes: _Changes) -> str:
    known = changes.ids.get(event_id)
    if known is None:
        known = changes.ids[event_id] = PSEUDONYM_PREFIX + secrets.token_hex(12)
    return known


def plus(one: int, other: int) -> int:
    """Add two fingerprints, half by half."""
    high = ((one >> 64) + (other >> 64)) & HALF
    return (high << 64) | ((one + other) & HALF)


def minus(one: int, other: int) -> int:
    """Take one fingerprint from another, half by half."""
    high = ((one >> 64) - (other >> 64)) & HALF
    return (high << 64) | ((one - other) & HALF)
