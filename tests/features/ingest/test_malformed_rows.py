"""Whatever rows hold, each lands, repeats, corrects, is left out, or is refused with a reason."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from malformed_rows import (
    FIELDS,
    MAPPING,
    ODD,
    OTHER_TYPES,
    Row,
    as_csv,
    as_event,
    as_jsonl,
    as_parquet,
    good_row,
    malformed_rows,
)

from features.ingest._text_chunks import SourceFileError
from features.ingest.mapped_tables import MappingError
from features.ingest.run import ingest
from features.lake.lake import Lake
from features.lake.summary import IngestSummary
from features.workspace import Workspace
from registry.store.store import MemoryModelStore
from serving.api.app import create_app
from serving.settings import ServiceSettings

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FORMS: dict[str, Callable[[list[Row]], bytes]] = {
    "csv": as_csv,
    "jsonl": as_jsonl,
    "parquet": as_parquet,
}


def ingested(folder: Path, form: str, content: bytes) -> tuple[IngestSummary, Lake]:
    """Ingest a file into a workspace of its own, and see that every row is accounted for."""
    files = folder / "files"
    files.mkdir(parents=True)
    (folder / "mapping.toml").write_text(MAPPING)
    (files / f"use.{form}").write_bytes(content)
    workspace = Workspace(folder / "workspace", environment={})
    summary = ingest(workspace, [files], folder / "mapping.toml")
    lake = Lake(workspace.events_dir)
    check_counts(summary, lake)
    return summary, lake


def check_counts(summary: IngestSummary, lake: Lake) -> None:
    refused = sum(summary.quarantined.values())
    assert summary.read == (
        summary.landed
        + summary.duplicates
        + summary.corrected
        + refused
        + sum(summary.left_out.values())
    )
    assert lake.scan().select(pl.len()).collect().item() == summary.landed + summary.corrected
    kept = lake.quarantined().collect()
    assert Counter(kept["reason"]) == Counter(dict(summary.quarantined))
    assert all(reason.strip() for reason in summary.quarantined)
    assert all(set(file.examples) == set(file.quarantined) for file in summary.files)


def what_became(summary: IngestSummary) -> tuple[object, ...]:
    return (
        summary.read,
        summary.landed,
        summary.duplicates,
        summary.corrected,
        dict(summary.quarantined),
        dict(summary.left_out),
    )


@pytest.mark.parametrize("seed", range(2))
def test_every_malformed_row_is_accounted_for_alike_in_every_format(tmp_path, seed):
    rows = list(malformed_rows(np.random.default_rng(seed), 3_000))
    became, digests = [], set()
    for form, written in FORMS.items():
        summary, lake = ingested(tmp_path / form, form, written(rows))
        assert summary.read == 3_000
        became.append(what_became(summary))
        digests.add(lake.digest)
    assert became[0] == became[1] == became[2]
    assert len(digests) == 1
    landed, duplicates, corrected, refused, left_out = became[0][1:]
    assert min(landed, duplicates, corrected, len(refused) - 30, len(left_out)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_million_malformed_rows_are_accounted_for(tmp_path, form):
    rows = list(malformed_rows(np.random.default_rng(20261121), 1_000_000))
    assert ingested(tmp_path, form, FORMS[form](rows))[0].read == 1_000_000


odd_rows = st.builds(
    lambda seed, changes: good_row(np.random.default_rng(seed)) | changes,
    st.integers(0, 3),
    st.one_of(
        *(
            st.fixed_dictionaries({field: st.sampled_from(ODD[field]) | st.text(max_size=5)})
            for field in FIELDS
        )
    ),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(odd_rows, min_size=1, max_size=6), st.sampled_from(sorted(FORMS)))
def test_any_text_in_any_field_is_accounted_for(tmp_path_factory, rows, form):
    if form == "csv":  # in a text file, a line may end in either, and NUL makes it no text
        rows = [
            {
                name: value.translate({0: 1, 13: 10}) if isinstance(value, str) else value
                for name, value in row.items()
            }
            for row in rows
        ]
    summary, _ = ingested(tmp_path_factory.mktemp("any"), form, FORMS[form](rows))
    assert summary.read == len(rows)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet='ab,"\n\t \x01é', max_size=20), max_size=5))
def test_any_text_below_a_header_is_accounted_for_or_refused_as_a_whole(tmp_path_factory, lines):
    content = ",".join(FIELDS) + "\n" + "\n".join(lines)
    with contextlib.suppress(SourceFileError):
        ingested(tmp_path_factory.mktemp("any"), "csv", content.encode())


@pytest.mark.parametrize(
    "dtype",
    [
        pl.Int64,
        pl.Float64,
        pl.Boolean,
        pl.Date,
        pl.Duration,
        pl.Time,
        pl.Binary,
        pl.List(pl.Int64),
        pl.Null,
        pl.Struct({"a": pl.Int64}),
        pl.Categorical,
        pl.Decimal(9, 2),
        pl.Datetime("ns", "UTC"),
        pl.Datetime("ms"),
        pl.Int128,
        pl.UInt64,
        pl.Float32,
    ],
    ids=str,
)
@pytest.mark.parametrize("field", FIELDS)
def test_a_parquet_column_of_any_type_is_accounted_for_or_refused_as_a_whole(
    tmp_path, field, dtype
):
    rows = [good_row(np.random.default_rng(seed)) for seed in range(3)]
    path = tmp_path / "typed.parquet"
    values = {
        pl.Boolean: [True, False, None],
        pl.Binary: [b"\xff", b"a", None],
        pl.List: [[1], [], None],
        pl.Struct: [{"a": 1}, {"a": None}, None],
        pl.Categorical: ["a", "", None],
        pl.Null: [None] * 3,
    }.get(dtype if isinstance(dtype, type) else type(dtype), [1, 0, None])
    pl.DataFrame(rows, schema=dict.fromkeys(FIELDS, pl.String)).with_columns(
        pl.Series(field, values).cast(dtype)
    ).write_parquet(path)
    if dtype in (pl.Binary, pl.Duration, pl.List):
        with pytest.raises(SourceFileError, match=f"column '{field}' of use.parquet holds"):
            ingested(tmp_path, "parquet", path.read_bytes())
    elif dtype == pl.Int128:
        with pytest.raises(SourceFileError, match=r"type that cannot be read .*Integers"):
            ingested(tmp_path, "parquet", path.read_bytes())
    elif field in ("at", "known") and (dtype.is_numeric() or dtype in (pl.Date, pl.Datetime("ms"))):
        with pytest.raises(MappingError, match=f"column '{field}'"):
            ingested(tmp_path, "parquet", path.read_bytes())
    else:
        assert ingested(tmp_path, "parquet", path.read_bytes())[0].read == 3


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[tuple[TestClient, Lake]]:
    workspace = Workspace(tmp_path_factory.mktemp("service") / "workspace", environment={})
    app = create_app(
        workspace, store=MemoryModelStore(), settings=ServiceSettings(), now=lambda: NOW
    )
    yield TestClient(app, base_url="http://127.0.0.1:8000"), app.state.service.timelines._lake
    app.state.service.close()


def post(service, rows: list[Row]) -> Counter[str]:
    """Send events, and see that the answer accounts for every row and the lake for the answer."""
    client, lake = service
    before = lake.scan().collect().height, lake.quarantined().collect().height
    answer = client.post(
        "/v1/events",
        content=json.dumps({"events": rows}),
        headers={"Content-Type": "application/json"},
    )
    after = lake.scan().collect().height, lake.quarantined().collect().height
    if answer.status_code in (400, 413, 422):
        assert after == before
        assert answer.json()["title"]
        return Counter(refused_as_a_whole=len(rows))
    assert answer.status_code == 200, answer.text
    content = answer.json()
    counts = {
        name: content[name] for name in ("landed", "duplicates", "corrected", "refused", "left_out")
    }
    assert sum(counts.values()) == len(content["items"]) == len(rows)
    statuses = Counter(item["status"] for item in content["items"])
    assert statuses["on_timeline"] == (
        content["landed"] + content["duplicates"] + content["corrected"]
    )
    assert statuses["refused"] == content["refused"]
    assert all(item["reason"] for item in content["items"] if item["status"] != "on_timeline")
    assert after[0] - before[0] == content["landed"] + content["corrected"]
    assert after[1] - before[1] <= content["refused"]
    return Counter(counts)


def test_every_malformed_event_that_is_sent_is_accounted_for(service):
    rng = np.random.default_rng(5)
    total: Counter[str] = Counter()
    for _ in range(8):
        total += post(service, [as_event(row, rng) for row in malformed_rows(rng, 250)])
    assert sum(total.values()) == 2_000
    assert min(total[name] for name in ("landed", "duplicates", "corrected", "refused")) > 0


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_events_that_are_sent_are_accounted_for(service, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    rows = [as_event(row, rng) for row in malformed_rows(rng, 3)]
    for row in rows:
        name = data.draw(st.sampled_from([*row, "new"]))
        row[name] = data.draw(
            st.sampled_from(OTHER_TYPES) | st.text(max_size=5) | st.floats() | st.integers()
        )
    post(service, rows)
