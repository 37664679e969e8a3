"""Files of settings, which people write, and what a workspace knows of itself."""

from __future__ import annotations

from serving.data_protection.stored_files.declaration import FileFormat, Place

SETTINGS_FILES: tuple[Place, ...] = (
    Place(
        path="workspace.toml",
        kind="TOML",
        holds="the settings of the tenant",
        about="nobody",
        written_by="keepwell init, keepwell ingest",
        format=FileFormat("settings", 1, "`format`", "features.toml_table:FORMAT"),
    ),
    Place(
        path="workspace.format",
        kind="JSON",
        holds="the version of the form of all files",
        about="nobody",
        written_by="keepwell init, keepwell ingest",
        format=FileFormat("workspace", 1, "`version`", "features.workspace:FORMAT"),
    ),
    Place(
        path="clock/noted.json",
        kind="JSON",
        holds="when the machine was started, by the time of the workspace, and what has passed",
        about="nobody",
        written_by="keepwell serve",
        format=FileFormat("noted time", 1, "`format`", "features.steady_clock:FORMAT"),
        rebuilt_by="keepwell serve",
        in_backup="never",
    ),
    Place(
        path="health_formula.toml",
        kind="TOML",
        holds="the tenant's own health formula",
        about="nobody",
        written_by="keepwell health adopt",
        format=FileFormat("health formula", 1, "`format`", "features.toml_table:FORMAT"),
    ),
    Place(
        path="features.toml",
        kind="TOML",
        holds="the tenant's own features",
        about="nobody",
        written_by="the operator",
        format=FileFormat("own features", 1, "`format`", "features.toml_table:FORMAT"),
    ),
    Place(
        path="limits.toml",
        kind="TOML",
        holds="limits of contact and capacity",
        about="nobody",
        written_by="the operator",
        format=FileFormat("limits", 1, "`format`", "features.toml_table:FORMAT"),
    ),
    Place(
        path="chance.toml",
        kind="TOML",
        holds="which draws are made",
        about="nobody",
        written_by="the operator",
        format=FileFormat("draws", 1, "`format`", "features.toml_table:FORMAT"),
    ),
    Place(
        path="prices.toml",
        kind="TOML",
        holds="costs and prices of actions",
        about="nobody",
        written_by="the operator, keepwell demo",
        format=FileFormat("prices", 1, "`format`", "registry.toml_table:FORMAT"),
    ),
    Place(
        path="rules.toml",
        kind="TOML",
        holds="the company's own warning signs, actions and sequences",
        about="nobody",
        written_by="the operator",
        format=FileFormat("rules", 1, "`format`", "features.toml_table:FORMAT"),
    ),
    Place(
        path="retention.toml",
        kind="TOML",
        holds="for how many days data are kept, and why",
        about="nobody",
        written_by="the operator",
        format=FileFormat("rules of retention", 1, "`format`", "features.toml_table:FORMAT"),
    ),
)
