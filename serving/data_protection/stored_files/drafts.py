"""Files of processes that are at work or were killed, and locks."""

from __future__ import annotations

from serving.data_protection.stored_files.declaration import Place

DRAFTS: tuple[Place, ...] = (
    Place(
        path="**.*.tmp",
        kind="draft",
        holds="a file that was being written when its process was killed",
        about="people",
        written_by="any command",
        in_backup="never",
    ),
    Place(
        path="**.*-????????/**",
        kind="draft",
        holds="a folder that was being written when its process was killed",
        about="people",
        written_by="any command",
        in_backup="never",
    ),
    Place(
        path="**.secret.*",
        kind="draft",
        holds="a secret that was being written when its process was killed",
        about="nobody",
        written_by="any command",
        in_backup="never",
    ),
    Place(
        path=".backup/*/**",
        kind="draft",
        holds="copies of databases while a backup is made",
        about="people",
        written_by="keepwell backup",
        in_backup="never",
    ),
    Place(
        path="events/.spool/**",
        kind="draft",
        holds="events of a file that is being read",
        about="people",
        written_by="keepwell ingest",
        in_backup="never",
    ),
    Place(
        path="**.lock",
        kind="lock",
        holds="nothing",
        about="nobody",
        written_by="any command",
        in_backup="never",
    ),
)
