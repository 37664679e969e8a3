"""The shapes of telemetry on the wire: events in, a verdict for each out."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from serving.api.schemas.wire_model import EXAMPLE_ACCOUNT, EXAMPLE_MOMENT, Answer, Request
from serving.settings import ServiceSettings

LARGEST_INTEGER = 2**53
MOST_EVENTS = f"At most {ServiceSettings.most_events_per_call:,}, unless set otherwise."


class EventsRequest(Request):
    """Events as rows of the telemetry schema; every row is checked by itself."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "events": [
                        {
                            "event_id": "crm-2093-77",
                            "account_id": EXAMPLE_ACCOUNT,
                            "kind": "survey.answered",
                            "occurred_at": EXAMPLE_MOMENT,
                            "quantity": 9,
                            "properties": {"survey": "nps", "scale": "10"},
                        }
                    ]
                }
            ]
        }
    )

    events: list[dict[str, Any]] = Field(min_length=1, fail_fast=True, description=MOST_EVENTS)

    @model_validator(mode="after")
    def _is_finite(self) -> EventsRequest:
        for number, row in enumerate(self.events):
            for name, value in row.items():
                inner = value.values() if isinstance(value, dict) else [value]
                if not all(_is_usable(one) for one in inner):
                    raise ValueError(
                        f"events[{number}].{name[:40]} holds a number that is not "
                        f"finite, or too large to be exact"
                    )
        return self


class EventResult(Answer):
    """What became of one row, counted from 0 as in the request."""

    row: int
    status: Literal["on_timeline", "refused", "left_out"]
    event_id: str | None
    reason: str | None


class EventsAnswer(Answer):
    """What became of every row. A row that is on the timeline is on disk; a refused row is in
    quarantine with its reason."""

    landed: int
    duplicates: int = Field(description="Identical repeats; they change nothing.")
    corrected: int
    refused: int
    left_out: int
    items: list[EventResult]


def _is_usable(value: object) -> bool:
    """Whether a value is no number, or one that JSON and the lake can both hold exactly."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= LARGEST_INTEGER
