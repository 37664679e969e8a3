"""Files of erasures, holds, retention and backups."""

from __future__ import annotations

from serving.data_protection.stored_files.declaration import FileFormat, Place

PROTECTION_FILES: tuple[Place, ...] = (
    Place(
        path="erasures.jsonl",
        kind="JSON",
        holds="which erasures were carried out, without whom they were about",
        about="nobody",
        written_by="keepwell erase, keepwell restore",
        format=FileFormat(
            "erasures",
            1,
            "`version` of each line",
            "serving.data_protection.pending_erasures:VERSION",
        ),
    ),
    Place(
        path="erasures.pending.jsonl",
        kind="JSON",
        holds="erasures that a restored workspace still lacks",
        about="nobody",
        written_by="keepwell restore",
        format=FileFormat(
            "erasures",
            1,
            "`version` of each line",
            "serving.data_protection.pending_erasures:VERSION",
        ),
    ),
    Place(
        path="erasures/subjects.json",
        kind="JSON",
        holds="who was erased and when, as keyed digests",
        about="nobody",
        written_by="keepwell erase",
        format=FileFormat("the erased", 1, "`version`", "features.lake.erased_subjects:VERSION"),
    ),
    Place(
        path="erasures/subjects.secret",
        kind="secret",
        holds="the key of those digests",
        about="nobody",
        written_by="keepwell erase",
        in_backup="if encrypted",
    ),
    Place(
        path="erasures/holds.json",
        kind="JSON",
        holds="legal holds, as keyed digests with their reasons and who set them",
        about="people",
        written_by="keepwell erase hold",
        format=FileFormat("holds", 1, "`format`", "serving.data_protection.erasure.holds:FORMAT"),
    ),
    Place(
        path="erasures/under-way.json",
        kind="JSON",
        holds="an erasure that was begun and has not ended",
        about="people",
        written_by="keepwell erase",
        format=FileFormat(
            "erasure", 1, "`version`", "serving.data_protection.erasure.erase:VERSION"
        ),
    ),
    Place(
        path="erasures/request-*.json",
        kind="JSON",
        holds="an erasure that waits for a second person",
        about="people",
        written_by="keepwell erase",
        format=FileFormat(
            "erasure", 1, "`version`", "serving.data_protection.erasure.erase:VERSION"
        ),
    ),
    Place(
        path="erasures/receipt-*.json",
        kind="JSON",
        holds="what an erasure did and who carried it out",
        about="people",
        written_by="keepwell erase",
        format=FileFormat(
            "receipt",
            1,
            "`version`",
            "serving.data_protection.erasure.erase:VERSION",
            newer="not read",
        ),
    ),
    Place(
        path="retention/horizons.json",
        kind="JSON",
        holds="how far back retention has gone for each kind of event",
        about="nobody",
        written_by="keepwell retention run, keepwell serve",
        format=FileFormat("horizons", 1, "`version`", "features.lake.admission.horizons:VERSION"),
    ),
    Place(
        path="retention/last-run.json",
        kind="JSON",
        holds="when retention ran last",
        about="nobody",
        written_by="keepwell retention run, keepwell serve",
        format=FileFormat(
            "last run",
            1,
            "`version`",
            "serving.data_protection.retention.run:VERSION",
            newer="made again",
        ),
    ),
    Place(
        path="retention/receipt-*.json",
        kind="JSON",
        holds="what a run of retention removed",
        about="nobody",
        written_by="keepwell retention run, keepwell serve",
        format=FileFormat(
            "receipt",
            1,
            "`version`",
            "serving.data_protection.retention.run:VERSION",
            newer="not read",
        ),
    ),
    Place(
        path="backup.targets.json",
        kind="JSON",
        holds="where the workspace is backed up, so that erasures are listed there",
        about="nobody",
        written_by="keepwell backup",
        format=FileFormat(
            "targets", 1, "`version`", "serving.data_protection.backup.erasures:VERSION"
        ),
        rebuilt_by="keepwell backup",
        in_backup="never",
    ),
)
