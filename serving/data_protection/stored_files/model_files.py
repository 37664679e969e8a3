"""Files of models, of what was found about them, of reports, and of the demo."""

from __future__ import annotations

from serving.data_protection.stored_files.declaration import FileFormat, Place

MODEL_FILES: tuple[Place, ...] = (
    Place(
        path="mlflow.db",
        kind="SQLite",
        holds="trainings, model versions, and who promoted which",
        about="people",
        written_by="keepwell train, keepwell models",
        format=FileFormat("MLflow's tracking store", newer="by its library"),
    ),
    Place(
        path="artifacts/**/bundle/*",
        kind="files",
        holds="models, as serving reads them",
        about="accounts",
        written_by="keepwell train",
        format=FileFormat(
            "model bundle", 1, "`version` of its `manifest.json`", "registry.bundle.bundle:VERSION"
        ),
    ),
    Place(
        path="artifacts/**",
        kind="files",
        holds="the models' cards, plots and tables",
        about="accounts",
        written_by="keepwell train",
        format=FileFormat("Markdown, JSON and pictures", newer="not read"),
    ),
    Place(
        path="waiting-runs/**",
        kind="files",
        holds="trainings that wait until the tracking server is back",
        about="accounts",
        written_by="keepwell train",
        format=FileFormat(
            "waiting run",
            1,
            "`version` of its `manifest.json`",
            "registry.store.pending_uploads:VERSION",
        ),
    ),
    Place(
        path="studies/*",
        kind="text",
        holds="trials of a search for parameters that was stopped",
        about="nobody",
        written_by="keepwell train",
        format=FileFormat(
            "journal of trials",
            1,
            "`format` of its first line",
            "training.models.tuning._study_journal:FORMAT",
        ),
        rebuilt_by="keepwell train",
    ),
    Place(
        path="monitoring/segments.json",
        kind="JSON",
        holds="the segments for which no model answers, and why",
        about="nobody",
        written_by="keepwell monitor",
        format=FileFormat(
            "switch of segments", 1, "`version`", "registry.bundle.segment_gate:VERSION"
        ),
    ),
    Place(
        path="monitoring/as_of_*/*.json",
        kind="JSON",
        holds="figures of monitoring as of a moment",
        about="nobody",
        written_by="keepwell monitor",
        format=FileFormat(
            "look of monitoring", 1, "`format`", "registry.monitoring.figures:FORMAT"
        ),
    ),
    Place(
        path="monitoring/**",
        kind="files",
        holds="pictures of monitoring, and its figures for Prometheus",
        about="nobody",
        written_by="keepwell monitor",
        format=FileFormat("pictures and text of Prometheus", newer="not read"),
    ),
    Place(
        path="shadow/**",
        kind="Parquet",
        holds="predictions of challengers beside those of champions",
        about="accounts",
        written_by="keepwell score --shadow",
        format=FileFormat(
            "comparison of models",
            1,
            "`keepwell.format` of its metadata",
            "serving.scoring.shadow:FORMAT",
        ),
        rebuilt_by="keepwell score --shadow",
    ),
    Place(
        path="reports/effects.json",
        kind="JSON",
        holds="measured effects of actions",
        about="accounts",
        written_by="keepwell effects",
        format=FileFormat(
            "measured effects", 1, "`format`", "experiments.effects.effects_file:FORMAT"
        ),
    ),
    Place(
        path="reports/designs/*.json",
        kind="JSON",
        holds="designs of reports, written before their data were read",
        about="accounts",
        written_by="keepwell report",
        format=FileFormat("design of a report", 1, "`format`", "experiments.causal.design:FORMAT"),
    ),
    Place(
        path="reports/**",
        kind="files",
        holds="causal reports, as pages and as JSON",
        about="accounts",
        written_by="keepwell report",
        format=FileFormat(
            "report",
            1,
            "`schema` of its JSON",
            "experiments.report.render:REPORT_SCHEMA",
            newer="not read",
        ),
    ),
    Place(
        path="demo.json",
        kind="JSON",
        holds="what `keepwell demo` did",
        about="nobody",
        written_by="keepwell demo",
        format=FileFormat("record of the demo", 1, "`format`", "keepwell:DEMO_FORMAT"),
    ),
    Place(
        path="world/**",
        kind="files",
        holds="the simulated company of `keepwell demo --world simulated`",
        about="people",
        written_by="keepwell demo",
        format=FileFormat(
            "tables and a mapping", 1, "`format` of its mapping", "features.toml_table:FORMAT"
        ),
        rebuilt_by="keepwell simulate",
    ),
)
