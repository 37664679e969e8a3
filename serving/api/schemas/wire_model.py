"""What all shapes on the wire share, and the one shape of every error.

Requests refuse fields they do not know and numbers that are not finite. Every answer states its
moment, its source and its currency. The examples in the modules of shapes are the examples of the
OpenAPI document, and the tests send them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

from features.events.schema import EARLIEST_DATE, LATEST_DATE
from serving.settings import ServiceSettings


def _says_something(text: str) -> str:
    if not text.strip():
        raise ValueError("it holds only spaces; say it in words, or leave the field out")
    return text


def _lies_in_time(moment: datetime) -> datetime:
    if not EARLIEST_DATE.year <= moment.year <= LATEST_DATE.year:
        raise ValueError(f"it is no moment from {EARLIEST_DATE.year} to {LATEST_DATE.year}")
    return moment.astimezone(UTC)


DAY_AND_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}")


def _is_written_as_a_moment(given: object) -> object:
    """A moment as ISO 8601 writes it; a number would be read as seconds or milliseconds."""
    if isinstance(given, datetime) or (isinstance(given, str) and DAY_AND_TIME.match(given)):
        return given
    raise ValueError("it has to be a moment such as 2026-03-01T09:30:00Z")


def _is_a_number(given: object) -> object:
    if isinstance(given, str | bool):
        raise ValueError("it has to be a number, not a text or true or false")
    return given


Moment = Annotated[
    AwareDatetime, AfterValidator(_lies_in_time), BeforeValidator(_is_written_as_a_moment)
]
"""A moment with its time zone, in UTC from here on; none that arithmetic could leave time with."""

Number = Annotated[float, BeforeValidator(_is_a_number)]
Whole = Annotated[int, BeforeValidator(_is_a_number)]
"""Numbers of a body of JSON, where a text in their place is a mistake."""

AccountId = Annotated[str, Field(min_length=1, max_length=200)]
ShortText = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_says_something)]

MOST_ACCOUNTS = f"At most {ServiceSettings.most_accounts_per_call:,}, unless set otherwise."

EXAMPLE_ACCOUNT, EXAMPLE_MOMENT = "775", "2023-03-31T10:00:00Z"
"""They work as they stand in the workspace of the CRM sample."""

EXAMPLE_DECISION = "b3a1c1d2-7f0e-5c55-9d0e-2f4f6a1b9c3d"


class Request(BaseModel):
    """A request: unknown fields and numbers that are not finite are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class Answer(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)


class FieldProblemAnswer(Answer):
    """One thing that is wrong with a request."""

    where: str
    message: str


class ProblemAnswer(Answer):
    """Every error has this shape (RFC 9457), as application/problem+json."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems#unknown-account",
                    "title": "Unknown account",
                    "status": 404,
                    "detail": "No account 'acme' is in the snapshot of 2023-04-01.",
                    "instance": "/v1/accounts/acme",
                    "next": "Check the spelling, or look the account up with GET /v1/accounts.",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str
    next: str
    errors: list[FieldProblemAnswer] | None = None
