"""Read events in the form of ``POST /v1/events`` and of JSON lines files.

One pydantic model declares the form of an event. A row that does not fit becomes a draft with its
problem, so that the other rows of the same request are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

import polars as pl
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from features.events.schema import LARGEST_COUNT, LINE, LONGEST_NAME, RAW
from features.events.validation import DRAFT_SCHEMA
from features.ingest.columns import read_instants, read_words
from features.ingest.drafts import first_problem
from features.ingest.properties import PropertyError, flat_properties
from features.ingest.readers import ANYTHING, is_unicode

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]


class EventIn(BaseModel):
    """One event as a program sends it. Times are ISO 8601 with their zone."""

    model_config = ConfigDict(extra="forbid", strict=True, str_strip_whitespace=True)

    event_id: Name | None = Field(default=None, description="Yours, so that a repeat is known.")
    account_id: Name
    user_id: Name | None = None
    kind: Name = Field(description="A kind of the table, or your own under `custom.`.")
    occurred_at: StrictStr = Field(max_length=64, examples=["2026-03-01T09:30:00Z"])
    recorded_at: StrictStr | None = Field(
        default=None, max_length=64, description="When it became known; by default on receipt."
    )
    event_count: Count = 1
    user_count: Count = 1
    quantity: Annotated[float, Field(allow_inf_nan=False, strict=False)] | None = None
    properties: dict[str, StrictStr | StrictInt | StrictFloat | bool | None] = Field(
        default_factory=dict, description="Flat: texts and numbers."
    )


def draft_rows(
    rows: Sequence[tuple[int, Mapping[str, object]]],
    *,
    now: datetime,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The draft of rows with their lines, and a frame with the original text of each row."""
    taken = [_draft_row(row) for _, row in rows]
    lines = [line for line, _ in rows]
    frame = pl.DataFrame(
        [{LINE: line, **entry} for line, entry in zip(lines, taken, strict=True)],
        schema={**DRAFT_SCHEMA, "occurred_at": pl.String, "recorded_at": pl.String},
    )
    occurred = read_instants(frame["occurred_at"], "occurred_at")
    recorded = read_instants(frame["recorded_at"].fill_null(now.isoformat()), "recorded_at")
    problems = [
        read_words(frame[name], name, needed=needed)
        for name, needed in (
            ("account_id", True),
            ("kind", True),
            ("user_id", False),
            ("event_id", False),
        )
    ]
    draft = frame.with_columns(
        occurred.values.alias("occurred_at"),
        recorded.values.alias("recorded_at"),
        pl.coalesce("problem", first_problem(*problems, occurred, recorded)).alias("problem"),
    ).cast(DRAFT_SCHEMA)
    raw = pl.DataFrame(
        {LINE: lines, RAW: [_row_text(row) for _, row in rows]},
        schema={LINE: pl.Int64, RAW: pl.String},
    )
    return draft, raw


def _draft_row(row: Mapping[str, object]) -> dict[str, object]:
    if not is_unicode(row):
        return {"problem": "holds text that is no Unicode"}
    try:
        event = EventIn.model_validate(row)
        properties = flat_properties(event.properties)
    except ValidationError as exc:
        return {"problem": _first_error(exc)}
    except PropertyError as exc:
        return {"problem": str(exc)}
    return {**event.model_dump(exclude={"properties"}), "properties": properties}


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"][:1]) or "row"
    return f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _row_text(row: Mapping[str, object]) -> str:
    text = ANYTHING.encode(row)
    return text.encode(errors="replace").decode()
