"""The scores of accounts, made one account after the other in plain Python: slow and obvious.

What the columns of ``scored_columns`` and of the file are held to. Only what a model says is taken
from it: its probabilities, intervals and contributions, of all rows at once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import polars as pl

from features.catalogue.catalogue import Catalogue
from features.catalogue.feature import AnyFeature
from features.health.formula import HealthFormula
from features.health.score import score_health
from registry.bundle.metadata import AMOUNT_ERROR
from serving.scoring.explanations import (
    LEAST_POINTS,
    MOST_REASONS,
    WINDOW,
    PeerGroup,
    Peers,
    Reason,
    Reasons,
    comparison,
    health_reasons,
    reason_text,
)
from serving.scoring.score import RISK_TIERS, AccountScore, Models, ServedModel
from serving.scoring.scores_file.file_columns import UNTOUCHED_COLUMNS, file_schema

Row = dict[str, object]

HORIZON = 90


def rows_one_by_one(
    frame: pl.DataFrame,
    models: Models,
    *,
    catalogue: Catalogue,
    formula: HealthFormula,
    now: datetime,
    max_age: timedelta,
    currency: str,
    peers: Peers,
    most_reasons: int = MOST_REASONS,
) -> pl.DataFrame:
    """The file of scores as it follows from each account by itself."""
    every = {
        name: None if served is None else _answers(served, frame)
        for name, served in (
            ("churn", models.churn),
            ("formula", models.churn_formula),
            ("expansion", models.expansion),
        )
    }
    rows = []
    for number, values in enumerate(frame.iter_rows(named=True)):
        features = {
            name: None if value is None or value != value else float(value)
            for name, value in values.items()
            if isinstance(value, int | float | None)
        }
        words = {n: values.get(n) for n in ("segment", "price_plan", "contract_status")}
        ended = words["contract_status"] == "ended"
        is_old = now - values["as_of"] > max_age
        refusal = (
            "The contract has ended, so there is nothing left to predict."
            if ended
            else "old"
            if is_old
            else _refusal(models, "churn", words)
        )
        by = "churn" if refusal is None else "formula"
        answer = None if ended else every[by]
        mrr = None if ended else features.get("mrr")
        health = score_health(formula, features)
        row: Row = {
            "account_id": values["account_id"],
            "as_of": values["as_of"],
            "health_score": health.score,
            "health_band": health.band,
            "degraded": refusal,
            "mrr": mrr,
            "currency": currency,
        }
        known = answer is not None
        if answer is not None:
            for horizon, (p, low, high) in answer["chances"].items():
                row[f"churn_probability_{horizon}d"] = p[number]
                if horizon == HORIZON:
                    row["churn_probability_90d_low"] = low[number]
                    row["churn_probability_90d_high"] = high[number]
                    row["risk_tier"] = _tier(p[number], answer["usual"])
                    row["revenue_at_risk"] = None if mrr is None else p[number] * mrr * 12
            row["model_version"] = answer["version"]
            if by == "churn":
                row |= zip(
                    UNTOUCHED_COLUMNS, (c[number] for c in answer["untreated"]), strict=False
                )
        growth = None
        if not ended and not is_old and _refusal(models, "expansion", words) is None:
            growth = every["expansion"]
        if growth is not None:
            for horizon, (p, low, high) in growth["chances"].items():
                row[f"expansion_probability_{horizon}d"] = p[number]
                if horizon == HORIZON and mrr is not None and growth["ratio"] is not None:
                    amount = mrr * growth["ratio"]
                    row["expected_expansion"] = p[number] * amount * 12
                    for name, bound, side in (("low", low, -1), ("high", high, 1)):
                        end = _moved(p[number], bound[number], growth["error"], side)
                        row[f"expected_expansion_{name}"] = end * amount * 12
        row["score_source"] = (
            "none"
            if ended or (health.score is None and not known)
            else "model"
            if refusal is None
            else "health_formula"
        )
        if refusal is None and answer is not None:
            reasons = reasons_one_by_one(
                answer["names"],
                answer["points"][number],
                answer["start"],
                features,
                catalogue.by_name,
                peers.of(words),
            )
        else:
            reasons = health_reasons(health)
        for n, reason in enumerate(reasons.top(most_reasons), start=1):
            row[f"reason_{n}"], row[f"reason_{n}_points"] = reason.sentence, reason.points
            row["points_unit"] = reason.points_unit
        rows.append(row)
    served = [one.model for one in (models.churn, models.churn_formula) if one]
    growing = [models.expansion.model] if models.expansion else []
    schema = file_schema(
        {h for model in served for h in model.horizons},
        {h for model in growing for h in model.horizons},
        most_reasons,
    )
    return pl.DataFrame(rows, schema=schema)


def _answers(served: ServedModel, frame: pl.DataFrame) -> Mapping[str, object]:
    model = served.model
    matrix = model.contract.matrix(frame)
    chances = {
        h: (
            model.probability(matrix, h).tolist(),
            *(bound.tolist() for bound in model.probability_interval(matrix, h)),
        )
        for h in model.horizons
    }
    points, start = model.points(matrix, HORIZON)
    untreated: Sequence[Sequence[float]] = ()
    if model.untreated_risk is not None and HORIZON in model.untreated_risk.shift.horizons:
        plain = {h: model.probability(matrix, h) for h in model.horizons}
        bounds = {h: model.probability_interval(matrix, h) for h in model.horizons}
        risk = model.untreated_risk.risk(
            matrix,
            plain,
            {h: b[0] for h, b in bounds.items()},
            {h: b[1] for h, b in bounds.items()},
        )
        untreated = [column.tolist() for column in risk[HORIZON]]
    return {
        "version": served.version,
        "names": model.contract.names,
        "chances": chances,
        "usual": model.base_rate(HORIZON),
        "points": points.tolist(),
        "start": start,
        "untreated": untreated,
        "ratio": model.amount_ratio,
        "error": model.metrics.get(AMOUNT_ERROR, 0.0) / (model.amount_ratio or math.inf),
    }


def _refusal(models: Models, label: str, words: Mapping[str, str | None]) -> str | None:
    if getattr(models, label) is None:
        why = models.refusals.get(label, f"there is no {label} model")
    else:
        why = models.withheld_from(label, words)
    return None if why is None else why[:1].upper() + why[1:].rstrip(".") + "."


def _tier(probability: float, usual: float) -> str:
    return [t.name for t in RISK_TIERS if probability >= t.from_multiple * usual][-1]


def _moved(p: float, bound: float, error: float, side: int) -> float:
    """The bound moved away from ``p`` by the amount's error, in quadrature of logarithms."""
    if error == 0 or p <= 0 or bound <= 0:
        return bound
    return p * math.exp(side * math.hypot(math.log(bound / p), 1.96 * error))


def reasons_one_by_one(
    names: Sequence[str],
    points: Sequence[float],
    start: float,
    features: Mapping[str, float | None],
    catalogue: Mapping[str, AnyFeature],
    similar: Sequence[PeerGroup],
    *,
    most: int = MOST_REASONS,
) -> Reasons:
    """The contributions of one row as reasons: those of one list, theme and sign added up."""
    together: dict[tuple[str, str, bool], list[tuple[float, str]]] = defaultdict(list)
    for name, share in zip(names, points, strict=True):
        declared = catalogue.get(name)
        role, theme = (declared.role, declared.theme) if declared else ("signal", "other")
        if share != 0:
            together[role, theme, bool(share > 0)].append((100 * float(share), name))
    lists: dict[str, list[Reason]] = defaultdict(list)
    for (role, theme, _), shares in together.items():
        shares.sort(key=lambda pair: (-abs(pair[0]), pair[1]))
        total = sum(share for share, _ in shares)
        if abs(total) < LEAST_POINTS:
            continue
        leading = shares[0][1]
        subjects, also = {WINDOW.sub("", leading)}, []
        for share, name in shares[1:]:
            if WINDOW.sub("", name) in subjects or abs(share) < LEAST_POINTS or len(also) == 2:
                continue
            subjects.add(WINDOW.sub("", name))
            also.append(reason_text(name, features.get(name), catalogue))
        lists[role].append(
            Reason(
                feature=leading,
                theme=theme,
                text=reason_text(leading, features.get(leading), catalogue),
                comparison=comparison(leading, features.get(leading), catalogue, similar),
                value=features.get(leading),
                unit=catalogue[leading].unit if leading in catalogue else "",
                points=total,
                points_unit="percentage points",
                also=tuple(also),
            )
        )
    largest = {
        role: tuple(sorted(found, key=lambda r: (-abs(r.points), r.feature))[:most])
        for role, found in lists.items()
    }
    shown = sum(reason.points for found in largest.values() for reason in found)
    return Reasons(
        signals=largest.get("signal", ()),
        levers=largest.get("lever", ()),
        context=largest.get("context", ()),
        start=100 * start,
        rest=100 * float(sum(points)) - shown,
    )


def score_frame_for_file(
    scores: Sequence[AccountScore], *, most_reasons: int = MOST_REASONS
) -> pl.DataFrame:
    """What is read of each account, as the columns of ``keepwell score``; nothing untreated."""
    schema = file_schema(
        {h.horizon_days for s in scores for h in s.churn},
        {h.horizon_days for s in scores for h in s.growth},
        most_reasons,
    )
    rows = []
    for score in scores:
        at_90 = score.churn_at(HORIZON)
        row: Row = {
            "account_id": score.account_id,
            "as_of": score.as_of,
            **{f"churn_probability_{h.horizon_days}d": h.probability for h in score.churn},
            "churn_probability_90d_low": at_90.low if at_90 else None,
            "churn_probability_90d_high": at_90.high if at_90 else None,
            **{f"expansion_probability_{h.horizon_days}d": h.probability for h in score.growth},
            "health_score": score.health.score,
            "health_band": score.health.band,
            "score_source": score.score_source,
            "degraded": score.degraded,
            "model_version": score.model_version,
            "risk_tier": score.risk_tier,
            "mrr": score.mrr,
            "revenue_at_risk": score.revenue_at_risk,
            "expected_expansion": score.expected_expansion,
            "expected_expansion_low": score.expected_expansion_low,
            "expected_expansion_high": score.expected_expansion_high,
            "currency": score.currency,
        }
        for n, reason in enumerate(score.reasons.top(most_reasons), start=1):
            row[f"reason_{n}"], row[f"reason_{n}_points"] = reason.sentence, reason.points
            row["points_unit"] = reason.points_unit
        rows.append(row)
    return pl.DataFrame(rows, schema=schema)
