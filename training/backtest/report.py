"""Report a back-test as tables, Markdown and JSON.

A group with too few outcomes gets those words, never a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from training.backtest.groups import Group
from training.backtest.judge import COMPARED_WITH, Backtest, LongHorizonResult
from training.backtest.renewals import RenewalBacktest
from training.metrics import Interval
from training.models.specs import SPECS, spec_named
from training.pipeline.record.tables import COLUMNS

TOO_FEW = "too few to judge"
RANKING = "AUC at a cutoff"
Json = str | int | float | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """A table with a heading."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def markdown(self) -> str:
        """As Markdown."""
        lines = [
            f"**{self.title}**",
            "",
            "| " + " | ".join(self.columns) + " |",
            "|" + "---|" * len(self.columns),
        ]
        return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in self.rows)])


def report_tables(result: Backtest) -> tuple[ReportTable, ...]:
    """All tables of the report, in order."""
    found = [
        _origins(result),
        *(_pooled(result, group) for group in result.by_horizon),
        _paired(result),
    ]
    if result.long_horizons:
        found.append(_long_horizon_origins(result))
        found += [
            _pooled(result, long.pooled) for long in result.long_horizons if long.pooled is not None
        ]
    if result.capacity is not None:
        found.append(_captured(result))
    return (
        *found,
        *(
            _groups(result, dimension)
            for dimension in dict.fromkeys(group.dimension for group in result.groups)
        ),
    )


def renewal_table(result: RenewalBacktest) -> ReportTable:
    """The chance at renewals by how far ahead they lay."""
    return ReportTable(
        title="The chance to leave at the renewal, by the days to it. A row is an account at a month's "
        "cutoff; the base rate is that of the band, which nobody knew then.",
        columns=(
            "days", "rows", "left", "accounts", "promised", "left over promised",
            "by revenue", "log loss", "of the base rate", "AUC",
        ),
        rows=tuple(
            (
                f"{band.low} to {band.high - 1}",
                f"{band.n_rows:,}",
                f"{band.n_left:,}",
                f"{band.n_accounts_left:,}",
                f"{band.promised:.1f}",
                TOO_FEW if band.by_count is None else f"{band.by_count.value:.2f} "
                f"({band.by_count.low:.2f} to {band.by_count.high:.2f})",
                TOO_FEW if band.by_revenue is None else f"{band.by_revenue:.2f}",
                f"{band.log_loss:.3f}",
                f"{band.log_loss_of_rate:.3f}",
                TOO_FEW if band.auc is None else f"{band.auc:.2f}",
            )
            for band in result.bands
        ),
    )  # fmt: skip


def remarks(result: Backtest) -> tuple[str, ...]:
    """The notes of the report: what was left out, and why."""
    longest = result.horizons[-1]
    left = [
        f"Left out, because every horizon is judged on the rows that are decided at {longest} "
        f"days: "
        + ", ".join(
            f"{n:,} {'row' if n == 1 else 'rows'} {reason}" for reason, n in reasons.items()
        )
        + "."
        for reasons in (result.left_out[longest],)
        if reasons
    ]
    capacity = (
        []
        if result.capacity is not None
        else ["Revenue captured is not known: too few accounts with a known MRR had the outcome."]
    )
    return (
        *left,
        *capacity,
        *result.notes,
        *(long.sentence(result.best) for long in result.long_horizons),
    )


def as_json(result: Backtest) -> dict[str, Json]:
    """The report as plain values, for programs."""
    capacity = result.capacity
    return {
        "label": result.label,
        "summary": result.summary,
        "learned": result.learned,
        "best": result.best.name,
        "horizons": list(result.horizons),
        "origins": [
            {
                "moment": origin.moment.isoformat(),
                "fitted": _days(origin.fitted),
                "embargoed": _days(origin.embargoed),
                "judged": _days(origin.judged),
                "rows": dict(counts),
                "log_loss": dict(losses),
            }
            for origin, counts, losses in zip(
                result.origins, result.counts, result.losses, strict=True
            )
        ],
        "by_horizon": [_group_json(group) for group in result.by_horizon],
        "differences_in_log_loss": {
            str(horizon): _differences_json(by_contender)
            for horizon, by_contender in result.differences.items()
        },
        "later": {
            str(long.horizon): _long_horizon_json(result, long) for long in result.long_horizons
        },
        "groups": [_group_json(group) for group in result.groups],
        "capacity": None
        if capacity is None
        else {
            "accounts_per_cutoff": capacity.capacity,
            "horizon": capacity.horizon,
            "rows": capacity.n_rows,
            "rows_without_mrr": capacity.n_without_mrr,
            "most": _interval_json(capacity.most.share),
            "contenders": {
                name: {
                    "revenue_captured": _interval_json(one.share),
                    "lift": _interval_json(one.lift),
                }
                for name, one in capacity.contenders.items()
            },
        },
        "left_out": {str(horizon): dict(reasons) for horizon, reasons in result.left_out.items()},
        "notes": list(result.notes),
    }


def _origins(result: Backtest) -> ReportTable:
    best = result.best
    return ReportTable(
        title=f"{result.label}: {len(result.origins)} origins",
        columns=(
            "origin",
            "fitted rows",
            "with outcome",
            "embargoed cutoffs",
            "judged rows",
            "with outcome",
            f"log loss: {best.title}",
            "base rate",
        ),
        rows=tuple(
            (
                f"{origin.moment:%Y-%m-%d}",
                f"{counts['fitted']:,}",
                f"{counts['fitted_outcomes']:,}",
                str(len(origin.embargoed)),
                f"{counts['judged']:,}",
                f"{counts['judged_outcomes']:,}",
                f"{losses[best.name]:.3f}",
                f"{losses['base_rate']:.3f}",
            )
            for origin, counts, losses in zip(
                result.origins, result.counts, result.losses, strict=True
            )
        ),
    )


def _pooled(result: Backtest, group: Group) -> ReportTable:
    """All rows at one horizon, best log loss first."""
    title = (
        f"{result.label} within {group.horizon} days: {group.n_rows:,} rows of "
        f"{group.n_accounts:,} accounts, {group.n_outcomes:,} rows of "
        f"{group.n_accounts_with_outcome:,} with the outcome"
    )
    if group.verdict is None:
        return ReportTable(title=f"{title}: {TOO_FEW}", columns=("",), rows=())
    metrics, ranking = group.verdict.metrics, group.verdict.ranking
    ordered = sorted(metrics, key=lambda name: metrics[name]["log_loss"].value)
    shown = {name: heading for name, heading in COLUMNS.items() if name != "lift_at_10_percent"}
    return ReportTable(
        title=title,
        columns=("", *shown.values(), RANKING),
        rows=tuple(
            (
                spec_named(name).title,
                *(_cell(metrics[name][metric]) for metric in shown),
                _cell(ranking[name]),
            )
            for name in ordered
        ),
    )


def _paired(result: Backtest) -> ReportTable:
    """Each contender minus the best, and minus the baselines."""
    differences = result.differences[result.horizons[-1]]
    others = tuple(
        dict.fromkeys((result.best.name, *(name for name in COMPARED_WITH if name in differences)))
    )
    return ReportTable(
        title=f"Paired difference in log loss at {result.horizons[-1]} days, row minus column",
        columns=("", *(spec_named(name).title for name in others)),
        rows=tuple(
            (spec.title, *(_signed(differences[spec.name].get(other)) for other in others))
            for spec in SPECS
            if spec.name in differences
        ),
    )


def _long_horizon_origins(result: Backtest) -> ReportTable:
    """One row for each origin and long horizon: the data it had, or why it does not judge."""
    best = result.best
    return ReportTable(
        title=f"{result.label} at long horizons, by origin",
        columns=(
            "days",
            "origin",
            "closed cutoffs",
            "accounts with outcome after the horizon before",
            "judged rows",
            "with outcome",
            f"log loss: {best.title}",
            "base rate",
            "why not, or how",
        ),
        rows=tuple(
            (
                str(long.horizon),
                f"{origin.moment:%Y-%m-%d}",
                str(origin.n_cutoffs),
                str(origin.n_accounts),
                f"{origin.n_rows:,}",
                f"{origin.n_outcomes:,}",
                *(
                    f"{losses[name]:.3f}" if name in losses else ""
                    for name in (best.name, "base_rate")
                ),
                origin.why_not or ("by decisions" if origin.by_date else ""),
            )
            for long in result.long_horizons
            for origin, losses in zip(long.origins, long.losses, strict=True)
        ),
    )


def _captured(result: Backtest) -> ReportTable:
    capacity = result.capacity
    assert capacity is not None, "asked for only where there is one"
    ordered = sorted(capacity.contenders, key=lambda n: -capacity.contenders[n].share.value)
    return ReportTable(
        title=f"The first {capacity.capacity} accounts of every cutoff by probability × MRR, "
        f"{capacity.horizon} days; nobody could capture more than "
        f"{_cell(capacity.most.share)}",
        columns=("", "share of the MRR with the outcome", "lift"),
        rows=tuple(
            (
                _ordering(name),
                _cell(capacity.contenders[name].share),
                _cell(capacity.contenders[name].lift, 2),
            )
            for name in ordered
        ),
    )


def _ordering(name: str) -> str:
    return "MRR alone (base rate)" if name == "base_rate" else spec_named(name).title


def _groups(result: Backtest, dimension: str) -> ReportTable:
    """The best on each group at each horizon, with its predicted rate there."""
    name = result.best.name
    rows = []
    for group in result.groups:
        if group.dimension != dimension:
            continue
        opening = (group.name, str(group.horizon), f"{group.n_rows:,}", f"{group.n_outcomes:,}")
        if group.verdict is None:
            rows.append((*opening, TOO_FEW, "", "", "", ""))
            continue
        found = group.verdict
        rows.append(
            (
                *opening,
                _cell(found.metrics[name]["log_loss"]),
                _signed(found.over_base_rate),
                _cell(found.ranking[name]),
                f"{found.promised:.3f}",
                _cell(found.observed),
            )
        )
    return ReportTable(
        title=f"{result.best.title} by {dimension}",
        rows=tuple(rows),
        columns=(
            dimension,
            "days",
            "rows",
            "with outcome",
            "log loss",
            "minus base rate",
            RANKING,
            "promised",
            "observed",
        ),
    )


def _group_json(group: Group) -> Json:
    found = group.verdict
    told: dict[str, Json] = {
        "dimension": group.dimension,
        "group": group.name,
        "horizon": group.horizon,
        "rows": group.n_rows,
        "outcomes": group.n_outcomes,
        "accounts": group.n_accounts,
        "accounts_with_outcome": group.n_accounts_with_outcome,
        "verdict": TOO_FEW if found is None else "judged",
    }
    if found is not None:
        told |= {
            "metrics": {
                name: {metric: _interval_json(interval) for metric, interval in metrics.items()}
                for name, metrics in found.metrics.items()
            },
            "auc_at_a_cutoff": {
                name: _interval_json(interval) for name, interval in found.ranking.items()
            },
            "best_over_base_rate": _interval_json(found.over_base_rate),
            "promised": found.promised,
            "observed": _interval_json(found.observed),
            "observed_minus_promised": _interval_json(found.gap),
        }
    return told


def _long_horizon_json(result: Backtest, long: LongHorizonResult) -> Json:
    return {
        "verdict": "not estimable" if long.pooled is None else "judged",
        "says": long.sentence(result.best),
        "why_not": long.why_not,
        "origins": [
            {
                "moment": origin.moment.isoformat(),
                "closed_cutoffs": origin.n_cutoffs,
                "accounts_with_outcome": origin.n_accounts,
                "rows": origin.n_rows,
                "outcomes": origin.n_outcomes,
                "why_not": origin.why_not,
                "by_decisions": origin.by_date,
                "log_loss": dict(losses),
            }
            for origin, losses in zip(long.origins, long.losses, strict=True)
        ],
        "pooled": None if long.pooled is None else _group_json(long.pooled),
        "differences_in_log_loss": _differences_json(long.differences),
    }


def _differences_json(differences: Mapping[str, Mapping[str, Interval]]) -> dict[str, Json]:
    return {
        name: {other: _interval_json(interval) for other, interval in others.items()}
        for name, others in differences.items()
    }


def _interval_json(interval: Interval) -> Json:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _days(moments: tuple[object, ...]) -> list[Json]:
    return [f"{moment:%Y-%m-%d}" for moment in moments]


def _cell(interval: Interval, digits: int = 3) -> str:
    return f"{interval.value:.{digits}f} ({interval.low:.{digits}f}–{interval.high:.{digits}f})"


def _signed(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    return f"{interval.value:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})"
