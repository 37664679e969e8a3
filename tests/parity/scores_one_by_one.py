"""The scores of accounts, made one account after the other in plain Python: slow and obvious.

What the columns of ``scored_columns`` and of the file are held to. Only what a model says is taken
from it: its probabilities, intervals and contributions, of all rows at once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from features.catalogue.catalogue import Catalogue
from features.catalogue.feature import AnyFeature
from features.catalogue.parts import whole_of
from features.catalogue.themes import TITLES, days_compared, direction_of, theme_of
from features.health.formula import HealthFormula
from features.health.score import score_health
from registry.bundle.metadata import AMOUNT_ERROR
from serving.scoring.explanations import (
    LEAST_POINTS,
    MOST_REASONS,
    NOT_COMPARED,
    WINDOW,
    Evidence,
    PeerGroup,
    Peers,
    Reason,
    Reasons,
    comparison,
    fact_text,
    health_reasons,
    peer_words,
)
from serving.scoring.reasons.choice import (
    LEAST_CARRIED,
    LEAST_SHARE,
    MOST_AWAY,
    MOST_TOWARD,
)
from serving.scoring.reasons.facts import _digits
from serving.scoring.reasons.in_words import LEAST_OF_THEME, MOST_FACTS
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
        name: None if served is None else _answers(served, frame, catalogue.by_name)
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
            model = models.churn.model
            reasons = reasons_one_by_one(
                dict(zip(model.contract.names, answer["points"][number], strict=True)),
                answer["start"],
                features,
                catalogue=catalogue.by_name,
                similar=peers.of(peer_words(words, features)),
                usual=model.usual,
                formula=formula,
                health_zero=model.zero_at("health_score"),
                base_rate=answer["usual"],
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


def _answers(
    served: ServedModel, frame: pl.DataFrame, catalogue: Mapping[str, AnyFeature]
) -> Mapping[str, object]:
    model = served.model
    matrix = model.contract.matrix(frame)
    chances = {
        h: (
            model.probability(matrix, h).tolist(),
            *(bound.tolist() for bound in model.probability_interval(matrix, h)),
        )
        for h in model.horizons
    }
    words = [theme_of(name, catalogue) for name in model.contract.names]
    themes = list(dict.fromkeys(words))
    within = np.array([themes.index(word) for word in words])
    points, start = model.points(matrix, HORIZON, within=within)
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


def _whole(name: str, facts: Collection[str], features: Mapping[str, float | None]) -> float | None:
    whole = whole_of(name)
    return features[whole.feature] if whole and whole.feature in facts else None


def _tier(probability: float, usual: float) -> str:
    return [t.name for t in RISK_TIERS if probability >= t.from_multiple * usual][-1]


def _moved(p: float, bound: float, error: float, side: int) -> float:
    """The bound moved away from ``p`` by the amount's error, in quadrature of logarithms."""
    if error == 0 or p <= 0 or bound <= 0:
        return bound
    return p * math.exp(side * math.hypot(math.log(bound / p), 1.96 * error))


def reasons_one_by_one(
    points: Mapping[str, float],
    start: float,
    features: Mapping[str, float | None],
    *,
    catalogue: Mapping[str, AnyFeature],
    similar: Sequence[PeerGroup],
    usual: Mapping[str, float],
    formula: HealthFormula,
    health_zero: float | None = None,
    base_rate: float | None = None,
) -> Reasons:
    """The contributions of one row as reasons, by the rules of ``reasons.choice``.

    ``points`` are what the model says of its features, which share the value of their theme; ``usual``
    what was usual when it was trained, ``health_zero`` the health that adds nothing.
    """
    total = sum(points.values())
    facts = dict.fromkeys((*points, *_made_of(formula, points)), 0.0) | dict(points)
    of_theme: defaultdict[str, list[str]] = defaultdict(list)
    for name in facts:
        of_theme[theme_of(name, catalogue)].append(name)
    themes = {theme: sum(facts[name] for name in names) for theme, names in of_theme.items()}
    if "health_score" in facts:
        added, score = facts.pop("health_score"), features.get("health_score")
        of_theme["health"] = []
        themes["health"] = 0.0
        if score is not None and health_zero is not None and abs(score - health_zero) > 1e-9:
            for name, moved in _moved_by(formula, features, usual, health_zero).items():
                facts[name] += added * moved / (score - health_zero)
                themes[theme_of(name, catalogue)] += added * moved / (score - health_zero)
    known = [group.medians for group in similar] + [usual]
    told: defaultdict[str, dict[str, float]] = defaultdict(dict)
    age = features.get("account_age_days")
    for theme, names in of_theme.items():
        for name in names:
            share, value = facts[name], features.get(name)
            middle = next((medians[name] for medians in known if name in medians), None)
            sign = direction_of(name, catalogue)
            if value is None or share * themes[theme] <= 0 or 100 * abs(share) < LEAST_POINTS:
                continue
            if age is not None and days_compared(name, catalogue) > age:
                continue
            apart = 1.0
            if name not in NOT_COMPARED and (middle is not None or sign):
                digits = _digits(catalogue.get(name))
                apart = round(value * 10**digits) - round((middle or 0.0) * 10**digits)
                if middle is None:
                    continue
            if sign * apart * share > 0 or (sign == 0 and apart):
                told[theme][name] = share
    way = sum(map(abs, themes.values()))
    reasons = []
    for theme, shares in told.items():
        size = abs(themes[theme])
        carried = sum(map(abs, shares.values()))
        if size < LEAST_SHARE * way or 100 * size < LEAST_POINTS or carried < LEAST_CARRIED * size:
            continue
        shown: dict[str, str] = {}
        for name in sorted(shares, key=lambda one: -abs(shares[one])):
            if not shown or abs(shares[name]) >= LEAST_OF_THEME * size:
                shown.setdefault(WINDOW.sub("", name), name)
        evidence = tuple(
            Evidence(
                feature=name,
                text=fact_text(name, features[name], _whole(name, facts, features), catalogue),
                comparison=comparison(name, features[name], catalogue, similar),
                value=features[name],
                unit=catalogue[name].unit if name in catalogue else "",
                points=100 * shares[name],
            )
            for name in list(shown.values())[:MOST_FACTS]
        )
        reasons.append(
            Reason(
                feature=evidence[0].feature,
                theme=theme,
                title=TITLES[theme],
                text=evidence[0].text,
                comparison=evidence[0].comparison,
                value=evidence[0].value,
                unit=evidence[0].unit,
                points=100 * themes[theme],
                points_unit="percentage points",
                also=tuple(one.text for one in evidence[1:]),
                evidence=evidence,
            )
        )
    reasons.sort(key=lambda reason: -abs(reason.points))
    reasons = [
        *[reason for reason in reasons if reason.points > 0][:MOST_TOWARD],
        *[reason for reason in reasons if reason.points < 0][:MOST_AWAY],
    ]
    lists: defaultdict[str, list[Reason]] = defaultdict(list)
    for reason in sorted(reasons, key=lambda reason: -abs(reason.points)):
        declared = catalogue.get(reason.feature)
        lists["signal" if declared is None else declared.role].append(reason)
    return Reasons(
        signals=tuple(lists["signal"]),
        levers=tuple(lists["lever"]),
        context=tuple(lists["context"]),
        start=100 * start,
        rest=100 * total - sum(reason.points for reason in reasons),
        others=sum(100 * abs(one) >= LEAST_POINTS for one in themes.values()) - len(reasons),
        base_rate=None if base_rate is None else 100 * base_rate,
    )


def _made_of(formula: HealthFormula, points: Mapping[str, float]) -> tuple[str, ...]:
    """The features that decide the health score, where the model reads that."""
    if "health_score" not in points:
        return ()
    return tuple(m.feature for c in formula.components if c.weight for m in c.measures)


def _moved_by(
    formula: HealthFormula,
    features: Mapping[str, float | None],
    usual: Mapping[str, float],
    reference: float,
) -> Mapping[str, float]:
    """By how much each feature moves the health of one account away from the reference."""
    parts = [
        (part, declared)
        for part, declared in zip(
            score_health(formula, features).components, formula.components, strict=True
        )
        if part.weight and part.points is not None
    ]
    expected = []
    for _, declared in parts:
        at = [
            points
            for measure in declared.measures
            if (value := measure.value(usual)) is not None
            and (points := measure.points(value)) is not None
        ]
        expected.append(at[0] if at else reference)
    weight = sum(part.weight for part, _ in parts)
    middle = sum(part.weight * one for (part, _), one in zip(parts, expected, strict=True)) / max(
        weight, 1.0
    )
    moved: defaultdict[str, float] = defaultdict(float)
    for (part, _), one in zip(parts, expected, strict=True):
        moved[str(part.feature)] += part.weight * (part.points - one - reference + middle) / weight
    return moved


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
