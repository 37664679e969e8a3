"""Check the rows of an audited set: each once, and no label window across the split.

Reads only the set and the moment its data end. Pure.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from training.audit.report import LABEL, PARTS, SPLIT, AuditedSet, CheckScope, LeakFinding
from training.dataset.labels import ROW


def check_rows(
    audited: AuditedSet,
    *,
    complete_until: datetime,
) -> tuple[list[LeakFinding], list[CheckScope]]:
    """Rows that are there twice, and label windows that cross or are not closed."""
    findings = _doubles(audited)
    looked = [
        CheckScope(
            check="rows",
            at=f"{audited.frame.height:,} rows of "
            f"{audited.frame['account_id'].n_unique():,} accounts",
        )
    ]
    if audited.reach is None:
        looked.append(
            CheckScope(
                check="windows",
                was_possible=False,
                at="how long a label window is was not said (--horizon DAYS)",
            )
        )
        return findings, looked
    findings += _not_closed(audited, complete_until)
    looked.append(
        CheckScope(
            check="windows",
            at=f"windows of {audited.reach.days} days that have to "
            f"close by {complete_until:%Y-%m-%d}",
        )
    )
    if audited.is_split_by_accounts:
        findings += _on_both_sides(audited)
        looked.append(CheckScope(check="rows", at="accounts of train and of test"))
        return findings, looked
    parts = audited.frame[SPLIT].unique() if SPLIT in audited.frame.columns else pl.Series([])
    if set(PARTS) <= set(parts):
        findings += _crossing(audited)
        looked.append(CheckScope(check="windows", at="rows of train and of test"))
    else:
        looked.append(
            CheckScope(
                check="windows",
                was_possible=False,
                at="the split: there is no column split with train and test",
            )
        )
    return findings, looked


def _doubles(audited: AuditedSet) -> list[LeakFinding]:
    """Rows of one account and moment; ids that differ by case or blanks are one account."""
    keys = audited.frame.select(
        pl.col("account_id").str.strip_chars().str.to_lowercase(), pl.col("as_of")
    )
    double = keys.is_duplicated()
    if not double.any():
        return []
    first = audited.frame.filter(double).row(0, named=True)
    both = ""
    if SPLIT in audited.frame.columns:
        sides = (
            keys.with_columns(audited.frame[SPLIT])
            .filter(double)
            .group_by(ROW)
            .agg(pl.col(SPLIT).drop_nulls().n_unique())
        )
        both = f"; {(sides[SPLIT] > 1).sum():,} stand in train and in test"
    return [
        LeakFinding(
            check="rows",
            feature="rows",
            rows=int(double.sum()),
            evidence=f"{int(double.sum()):,} rows share account and moment with another row, such as "
            f"account {first['account_id']!r} as of {first['as_of']:%Y-%m-%d}{both}",
            next="Keep one row for each account and moment; a join that multiplies rows is the usual "
            "cause.",
        )
    ]


def _not_closed(audited: AuditedSet, complete_until: datetime) -> list[LeakFinding]:
    assert audited.reach is not None
    late = (audited.frame["as_of"] + audited.reach > complete_until) & audited.frame[
        LABEL
    ].is_not_null()
    if not late.any():
        return []
    newest: datetime = audited.frame.filter(late)["as_of"].sort()[-1]
    return [
        LeakFinding(
            check="windows",
            feature=LABEL,
            rows=int(late.sum()),
            evidence=f"{int(late.sum()):,} rows have a label although their window closes after "
            f"{complete_until:%Y-%m-%d}, where the data end (the newest cutoff is "
            f"{newest:%Y-%m-%d})",
            next="Leave the label of these rows null: whoever has not left yet is not known to stay.",
        )
    ]


def _on_both_sides(audited: AuditedSet) -> list[LeakFinding]:
    """Accounts with rows in train and in test, where accounts were to be held out."""
    sides = audited.frame.drop_nulls(SPLIT).group_by("account_id").agg(pl.col(SPLIT).n_unique())
    both = sides.filter(pl.col(SPLIT) > 1)["account_id"].sort()
    if both.is_empty():
        return []
    return [
        LeakFinding(
            check="rows",
            feature=SPLIT,
            rows=int(audited.frame["account_id"].is_in(both.to_list()).sum()),
            evidence=f"{len(both):,} accounts have rows in train and in test at the same cutoffs, such "
            f"as {both[0]!r}",
            next="Hold whole accounts out; training/dataset/held_out_accounts.py draws so.",
        )
    ]


def _crossing(audited: AuditedSet) -> list[LeakFinding]:
    """Train rows whose outcome was decided while the test was already running."""
    assert audited.reach is not None
    part = audited.frame[SPLIT]
    opens: datetime = audited.frame.filter(part == "test")["as_of"].sort()[0]
    crossing = ((part == "train") & (audited.frame["as_of"] + audited.reach > opens)).fill_null(
        value=False
    )
    if not crossing.any():
        return []
    return [
        LeakFinding(
            check="windows",
            feature=SPLIT,
            rows=int(crossing.sum()),
            evidence=f"the label windows of {int(crossing.sum()):,} of {int((part == 'train').sum()):,}"
            f" train rows reach into the test, which opens {opens:%Y-%m-%d}",
            next=f"Train on cutoffs of at least {audited.reach.days} days before the first test "
            f"cutoff; training/dataset/splits.py cuts so.",
        )
    ]
