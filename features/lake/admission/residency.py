"""Refuse events that say they belong into another region than the workspace.

An event says so by its property ``data_region``: a mapping reads it from a column or states it for a
table, a program sends it. An event that says nothing is taken. Of a refused row only the reason is
stored, for its content must not be here either.
"""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl

from features.events.schema import LINE
from features.events.validation import DraftPiece

REGION_PROPERTY = "data_region"


def refuse_other_regions(piece: DraftPiece, region: str | None) -> DraftPiece:
    """The piece with a problem on each row of another region; as it is where none is set."""
    if region is None or piece.draft.is_empty():
        return piece
    texts = piece.draft["properties"].drop_nulls().unique()
    said = texts.filter(texts.str.contains(f'"{REGION_PROPERTY}"', literal=True)).to_list()
    others = {text: found for text in said if (found := _region(text)) not in (None, region)}
    if not others:
        return piece
    problems = pl.col("properties").replace_strict(
        list(others),
        [
            f"data_region is {name!r:.40}, and this workspace is of the region {region!r}"
            for name in others.values()
        ],
        default=None,
        return_dtype=pl.String,
    )
    draft = piece.draft.with_columns(pl.coalesce(problems, "problem").alias("problem"))
    lines = draft.filter(pl.col("properties").is_in(list(others)))[LINE].implode()
    raw = piece.raw.with_columns(
        pl.when(pl.col(LINE).is_in(lines)).then(None).otherwise(pl.col(name)).alias(name)
        for name in piece.raw.columns
        if name != LINE
    )
    return replace(piece, draft=draft, raw=raw)


def _region(properties: str) -> str | None:
    try:
        found = json.loads(properties)
    except (ValueError, RecursionError):
        return None
    value = found.get(REGION_PROPERTY) if isinstance(found, dict) else None
    return None if value is None else str(value).strip()
