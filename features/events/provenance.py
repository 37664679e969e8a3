"""Which events Keepwell wrote itself, and what no other system may claim.

Keepwell writes an event for each record of its ledger, with the id of the record. Events of the same
kinds that come from outside are what other systems say of their own actions: they are kept, and apart.
None can have the id of a record of ours, so none can stand before it, correct it or hide it.
"""

from __future__ import annotations

import re
from typing import Literal

import polars as pl

OwnRecord = Literal["decision", "outcome", "feedback", "draw"]

OWN_ID = r"^(?:decision|outcome|feedback|draw)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
"""The form of the ids of events that Keepwell wrote."""

HOLDOUT = "standing_holdout"
"""The comparison of held-out accounts with the others."""

LAST_HOURS = "last_hours_"
"""How the comparisons of lots for the last hours of a week begin; the action follows."""

LOTTERY = "keepwell_lottery_"
"""How the comparisons of lotteries that somebody asked for begin; the action follows."""

OWN_PROPERTIES = ("chance", "draw_id")
"""Properties of ``action.decided`` by which a draw of Keepwell's own is recognised."""

OWN_INTERVENTION = rf"^(?:{HOLDOUT}$|{LAST_HOURS}|{LOTTERY})"

IS_OUR_ID = "event_id is of the form that Keepwell gives to its own records; choose another"
IS_OUR_DRAW = "only Keepwell's own draws have chance and draw_id; leave them out"
IS_OUR_COMPARISON = "intervention is the name of a comparison of Keepwell's own; choose another"

_OWN_ID = re.compile(OWN_ID)


def own_event_id(record: OwnRecord, record_id: str) -> str:
    """The id of the event of a record.

    >>> own_event_id("outcome", "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d")
    'outcome-2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d'
    """
    return f"{record}-{record_id}"


def is_own(event_id: str) -> bool:
    """Whether Keepwell wrote the event with this id.

    >>> is_own("outcome-2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d"), is_own("outcome-7")
    (True, False)
    """
    return _OWN_ID.match(event_id) is not None


def claims_of_ours() -> pl.Expr:
    """Why an event from outside cannot be taken: it claims to be one of Keepwell's own."""
    return pl.when(pl.col("event_id").str.contains(OWN_ID)).then(pl.lit(IS_OUR_ID))


def claimed_draws() -> tuple[pl.Expr, ...]:
    """The same of an ``action.decided``: it claims a draw of Keepwell's own."""
    properties = pl.col("properties")
    has_own = pl.any_horizontal(
        properties.str.json_path_match(f"$.{name}").is_not_null() for name in OWN_PROPERTIES
    )
    intervention = properties.str.json_path_match("$.intervention")
    return (
        pl.when(has_own).then(pl.lit(IS_OUR_DRAW)),
        pl.when(intervention.str.contains(OWN_INTERVENTION)).then(pl.lit(IS_OUR_COMPARISON)),
    )
