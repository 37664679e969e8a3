"""Look for leakage: values in a training set that nobody knew at the cutoff.

Every column that the timeline has (a feature, an attribute, a property of that name) is computed
again from what was recorded before each cutoff. A value that differs is compared with its likely
sources::

    as_of ──┬── recorded later, happened before     events counted by when they happened
            ├── +1 … +90 days                       a later snapshot
            └── end of the data                     a field as it stands today

Columns that the timeline does not have are named, not judged; ``suspicious_features`` looks at all
columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

import polars as pl

from features.catalogue.catalogue import HEALTH_SCORE, Catalogue
from features.catalogue.definitions.attributes import CONTRACT_STATUS
from features.catalogue.feature import Attribute, Feature
from features.events.schema import UTC_INSTANT
from features.events.visibility import newest_version
from training.audit.report import (
    AuditedSet,
    AuditError,
    Check,
    CheckScope,
    LeakFinding,
    share_with_outcome,
)
from training.dataset.history import History, columns_differ, sample, values_as_of

SHIFTS = tuple(timedelta(days=days) for days in (1, 7, 14, 28, 30, 60, 90))
"""How much later a value may have been read; tried where it differs from the value known then."""

EXPLAINED_ACCOUNTS = 200
LEAST_ALIKE = 0.5
"""A column counts as a property if at least this share of its values are those known then."""

NAMES_OF_KNOWN_AT = re.compile(
    r"(recorded|known|occurred|happened|created|updated|modified|changed|computed|loaded|seen|"
    r"snapshot|event)(_|$)"
)
"""Names of columns that hold when something became known; a renewal date is none."""

KEY = re.compile(r"[a-z][a-z0-9_]*")


def check_against_history(
    audited: AuditedSet,
    history: History,
) -> tuple[list[LeakFinding], list[CheckScope], frozenset[str]]:
    """Find values that were not known at their cutoff, and their likely sources.

    Returns:
        Findings, what was looked at, and the columns that could be recomputed.
    """
    history, by_property = _with_properties(audited, history)
    known = values_as_of(audited.frame, history)
    unknown_accounts = int(known["is_known"].not_().sum())
    if unknown_accounts == audited.frame.height:
        raise AuditError(
            f"None of the {audited.frame['account_id'].n_unique():,} accounts of {audited.name} "
            f"was known at its cutoff, such as {audited.frame['account_id'][0]!r}. Is it the "
            f"training set of another workspace?"
        )
    differing = {}
    names = [name for name in audited.features if name in known.columns]
    all_apart = columns_differ(audited.frame, known, names)
    for name in [*names]:
        apart = all_apart[name]
        apart &= ~_is_filled_in(audited.frame[name], known[name], apart)
        if name in by_property and apart.sum() > (1 - LEAST_ALIKE) * len(apart):
            names.remove(name)  # the same name with another meaning
        elif apart.any():
            differing[name] = apart
    findings = _explained(audited, history, differing) + _late_times(audited)
    if unknown_accounts:
        findings.append(_unknown_finding(unknown_accounts))
    others = [name for name in audited.features if name not in names]
    at = f"{len(names)} of {len(audited.features)} columns recomputed on {known.height:,} rows"
    if others:
        at += f"; the timeline says nothing of {', '.join(others[:6])}" + (
            f" and {len(others) - 6} more" if len(others) > 6 else ""
        )
    return (
        findings,
        [
            CheckScope(check=check, at=at, was_possible=bool(names))
            for check in ("future", "knowledge", "field")
        ],
        frozenset(names),
    )


def _explained(
    audited: AuditedSet,
    history: History,
    differing: Mapping[str, pl.Series],
) -> list[LeakFinding]:
    """One finding for each column that differs, with the likeliest source of its values."""
    if not differing:
        return []
    rows = audited.frame.filter(pl.any_horizontal(list(differing.values())))
    accounts = sample(rows["account_id"].unique(), EXPLAINED_ACCOUNTS)
    inside = audited.frame["account_id"].is_in(accounts)
    tried = audited.frame.filter(inside)
    matches: dict[str, list[tuple[int, str, str]]] = {name: [] for name in differing}
    for source, words, values in _sources(tried, history):
        other = columns_differ(tried, values, [*differing])
        for name, apart in differing.items():
            same = ~other[name] & apart.filter(inside)
            matches[name].append((int(same.sum()), source, words))
    findings = []
    for name, apart in differing.items():
        n_tried = int(apart.filter(inside).sum())
        # max keeps the first of equals: the nearest source
        hits, source, words = max(matches[name], key=lambda match: match[0])
        n = int(apart.sum())
        came = (
            f"{hits:,} of {n_tried:,} looked at are {words}"
            if hits > n_tried / 2
            else "they match no later moment either"
        )
        check: Check = "future"
        if hits > n_tried / 2 and source == "recorded":
            check = "knowledge"
        elif _is_field(name, history.catalogue):
            check = "field"
        findings.append(
            LeakFinding(
                check=check,
                feature=name,
                rows=n,
                evidence=f"{n:,} of {audited.frame.height:,} rows are not what was known at the "
                f"cutoff: {came}; {share_with_outcome(audited, apart)}",
                next=_NEXT[check],
            )
        )
    return findings


_NEXT: Mapping[Check, str] = {
    "future": "Take the snapshots as of the cutoffs (keepwell snapshot, WorkspaceFeatures."
    "historical). If the column is something else, give it another name.",
    "knowledge": "Count an event from its recorded_at, not from its occurred_at "
    "(docs/explanation/rules-of-time.md).",
    "field": "Read the field as of the cutoff: the newest event before it, not the table as it "
    "stands today.",
}


def _sources(
    rows: pl.DataFrame,
    history: History,
) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """The possible sources of values: a key, a description and the values of each."""
    by_occurrence = replace(
        history,
        events=history.events.filter(newest_version()).with_columns(
            recorded_at=pl.col("occurred_at")
        ),
    )
    yield (
        "recorded",
        "what comes out when events count from when they happened, although they "
        "were recorded after the cutoff",
        values_as_of(rows, by_occurrence),
    )
    for later in SHIFTS:
        shifted = rows.with_columns(
            as_of=pl.min_horizontal(
                pl.col("as_of") + later, pl.lit(history.complete_until, UTC_INSTANT)
            )
        )
        yield ("later", f"those of {later.days} days later", values_as_of(shifted, history))
    end = rows.with_columns(as_of=pl.lit(history.complete_until, UTC_INSTANT))
    yield (
        "end",
        f"those of {history.complete_until:%Y-%m-%d}, where the data end",
        values_as_of(end, history),
    )


def _with_properties(
    audited: AuditedSet,
    history: History,
) -> tuple[History, frozenset[str]]:
    """The history with an attribute for each other column that is named like a property."""
    catalogue = history.catalogue
    there = {
        *catalogue.names,
        *(a.name for a in catalogue.attributes),
        CONTRACT_STATUS,
        HEALTH_SCORE,
    }
    own = {name for name in audited.features if name not in there and KEY.fullmatch(name)}
    if not own:
        return history, frozenset()
    keys = (
        history.events.select("kind", "properties")
        .unique()
        .select("kind", key=pl.col("properties").str.extract_all(r'"[a-z][a-z0-9_]*":'))
        .explode("key")
        .drop_nulls()
        .unique()
        .select("kind", key=pl.col("key").str.strip_chars('":'))
        .filter(pl.col("key").is_in(sorted(own)))
        .sort("kind")
        .collect()
    )
    attributes = tuple(
        Attribute(
            name=str(key),
            description="A property of this name.",
            of=str(key),
            reads=tuple(rows["kind"]),
        )
        for (key,), rows in sorted(keys.group_by("key"))
    )
    if not attributes:
        return history, frozenset()
    wider = Catalogue(features=catalogue.features, attributes=(*catalogue.attributes, *attributes))
    return replace(history, catalogue=wider), frozenset(attribute.name for attribute in attributes)


def _is_field(name: str, catalogue: Catalogue) -> bool:
    """Whether a column is a state that a table overwrites: an attribute or a newest value."""
    return (
        name == CONTRACT_STATUS
        or any(attribute.name == name for attribute in catalogue.attributes)
        or any(
            feature.name == name and feature.aggregate.operation in ("last", "days_until")
            for feature in catalogue.features
            if isinstance(feature, Feature)
        )
    )


def _is_filled_in(values: pl.Series, known: pl.Series, apart: pl.Series) -> pl.Series:
    """Where unknown numbers were all filled in with one number: unwise, but no leak."""
    nothing = pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)
    unknown = known.is_null()
    if not values.dtype.is_numeric() or not (unknown & apart).any():
        return nothing
    filled = values.filter(unknown)
    return unknown if filled.null_count() == 0 and filled.n_unique() == 1 else nothing


def _late_times(audited: AuditedSet) -> list[LeakFinding]:
    """Columns with times of knowledge that lie after the cutoff."""
    findings = []
    for name in audited.features:
        values = audited.frame[name]
        if not values.dtype.is_temporal() or not NAMES_OF_KNOWN_AT.search(name):
            continue
        if values.dtype == pl.Date or getattr(values.dtype, "time_zone", None) is None:
            values = values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        late = (values.cast(UTC_INSTANT) >= audited.frame["as_of"]).fill_null(value=False)
        if late.any():
            farthest = (values - audited.frame["as_of"]).filter(late).max()
            days = farthest / timedelta(days=1)  # type: ignore[operator]
            findings.append(
                LeakFinding(
                    check="knowledge",
                    feature=name,
                    rows=int(late.sum()),
                    evidence=f"{int(late.sum()):,} rows hold a moment at or after their cutoff, up to "
                    f"{days:,.0f} days after it; {share_with_outcome(audited, late)}",
                    next="Make these rows again from what was recorded before the cutoff.",
                )
            )
    return findings


def _unknown_finding(rows: int) -> LeakFinding:
    return LeakFinding(
        check="knowledge",
        feature="rows",
        rows=rows,
        evidence=f"{rows:,} rows are of accounts of which nothing was recorded before the cutoff",
        next="Leave these rows out: at that moment nobody could have asked for a score.",
    )
