"""Small worlds with a known effect, for estimators, checks and reports.

Array worlds (`sample_world`) for estimators; event worlds (`event_world`) for everything from the
timeline on. In a confounded world accounts in poor health are chosen more often, and leave more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from experiments.causal.design import Design
from experiments.causal.sample import Sample
from experiments.randomisation.assignment import draw_assignments, hash_position
from features.events.schema import EVENT_SCHEMA, properties_text

FIRST = datetime(2025, 1, 1, tzinfo=UTC)


def month(number: int) -> datetime:
    return datetime(2025 + (number // 12), number % 12 + 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SampleWorld:
    sample: Sample
    outcome: np.ndarray
    continuous: np.ndarray
    ate: float
    att: float
    continuous_ate: float
    continuous_att: float


def expit(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def sample_world(
    rng: np.random.Generator,
    *,
    rows: int = 4000,
    confounded: bool = True,
    effect: float = -0.8,
    rows_per_cluster: int = 2,
    unknown: float = 0.1,
    draws: int = 1,
) -> SampleWorld:
    """Binary outcome with a heterogeneous effect on the log-odds; truth from the potential rates.

    X0 (health) drives both treatment and outcome when confounded; X1 drives the outcome; X2
    modifies the effect; X3 is noise. Rows of a cluster share a random level.
    """
    clusters = rows // rows_per_cluster
    cluster = np.repeat(np.arange(clusters), rows_per_cluster)
    level = rng.normal(size=clusters)[cluster]
    x = rng.normal(size=(rows, 4))
    x[:, 0] = 0.6 * level + 0.8 * x[:, 0]
    stratum = np.arange(rows) % draws
    if confounded:
        propensity = expit(-0.6 - 1.0 * x[:, 0] + 0.4 * np.sin(2 * x[:, 1]))
        logged = np.full(rows, np.nan)
    else:
        propensity = np.array([0.5, 0.3, 0.15])[stratum % 3]
        logged = propensity.copy()
    treated = rng.random(rows) < propensity
    base = -1.4 - 0.9 * x[:, 0] + 0.5 * np.abs(x[:, 1])
    base = base + (0.4 * stratum if draws > 1 else 0.0)
    shift = effect * (1 + 0.5 * (x[:, 2] > 0))
    rate = {False: expit(base), True: expit(base + shift)}
    outcome = (rng.random(rows) < np.where(treated, rate[True], rate[False])).astype(float)
    gain = 100 * (1 + (x[:, 2] > 0)) * (effect != 0)
    continuous = (
        50 * x[:, 0]
        + 80 * np.abs(x[:, 1])
        + gain * treated
        + 60 * level
        + 50 * rng.normal(size=rows)
    )
    seen = np.where(rng.random(x.shape) < unknown, np.nan, x)
    seen[:, 0] = x[:, 0]
    difference = rate[True] - rate[False]
    return SampleWorld(
        sample=Sample.of_two_arms(
            covariates=seen,
            covariate_names=("health", "load", "size", "noise"),
            treated=treated,
            propensity=logged,
            stratum=stratum,
            cluster=cluster,
        ),
        outcome=outcome,
        continuous=continuous,
        ate=float(difference.mean()),
        att=float(difference[treated].mean()),
        continuous_ate=float(gain.mean()),
        continuous_att=float(gain[treated].mean()),
    )


def event(
    account: str, kind: str, at: datetime, quantity: float | None = None, **properties: str | float
) -> dict[str, object]:
    return {
        "event_id": f"{account}|{kind}|{at:%Y%m%dT%H%M}|{sorted(properties.items())}",
        "account_id": account,
        "user_id": None,
        "kind": kind,
        "occurred_at": at,
        "recorded_at": at,
        "event_count": 1,
        "user_count": 1,
        "quantity": quantity,
        "properties": properties_text(properties),
    }


def frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=EVENT_SCHEMA)


@dataclass(frozen=True)
class EventWorld:
    events: pl.DataFrame
    features: pl.DataFrame
    as_of: datetime
    designs: tuple[Design, ...]
    truth: dict[str, float]  # intervention: effect on the chance to leave, of its treated


def event_world(
    rng: np.random.Generator,
    *,
    accounts: int = 900,
    months: int = 12,
    effect: float = 0.6,
    hidden: float = 0.0,
    programmes: tuple[str, ...] = ("pilot", "judged"),
    action: str = "success_call",
) -> EventWorld:
    """A company whose accounts leave monthly by their health; calls cut the chance by ``effect``.

    Even accounts are in the pilot (lottery in months 4 to 7), odd ones in the judged programme
    (months 4 to 7, the less healthy the likelier). ``hidden`` is how much a judgement follows a
    part of health that no feature shows. The call works for a quarter.
    """
    rows: list[dict[str, object]] = []
    snapshots: list[dict[str, object]] = []
    decided = {number: [] for number in range(4, 8)}
    names = [f"a{number:04d}" for number in range(accounts)]
    health = rng.normal(size=accounts)
    secret = rng.normal(size=accounts)
    mrr = np.exp(rng.normal(6, 0.5, accounts)).round()
    left = np.full(accounts, 999)
    until = np.full(accounts, -1)  # takes part in no programme before this month
    called = np.full(accounts, -1)  # the call works before this month
    foregone: dict[str, list[float]] = {"pilot": [], "judged": []}
    for number in range(months):
        now = month(number)
        health = 0.9 * health + 0.44 * rng.normal(size=accounts)
        seen = health + 0.15 * rng.normal(size=accounts)
        running = left > number
        for index in np.flatnonzero(running):
            name = names[index]
            if number == 0:
                rows.append(
                    event(
                        name,
                        "contract.started",
                        now - timedelta(days=200),
                        float(mrr[index]),
                        price_plan="pro",
                        seats=5,
                    )
                )
            elif (index + number) % 3 == 0:
                rows.append(
                    event(
                        name,
                        "contract.renewed",
                        now - timedelta(days=1),
                        float(mrr[index]),
                        price_plan="pro",
                        seats=5,
                    )
                )
            snapshots.append(
                {
                    "account_id": name,
                    "as_of": now,
                    "segment": "large" if index % 3 == 0 else "small",
                    "csm": f"csm{index % 4}",
                    "price_plan": "pro",
                    "health_score": float(seen[index]),
                    "sessions_28d": float(np.exp(seen[index] + 0.3 * rng.normal())),
                    "active_users_28d": float(np.round(3 + 2 * seen[index] + rng.normal())),
                    "mrr": float(mrr[index]),
                    "csat_90d": float(rng.normal()) if rng.random() < 0.6 else None,
                }
            )
        chance = expit(-2.7 - 0.9 * health - 0.8 * hidden * secret)
        if number in decided:
            free = running & (until <= number)
            pilot = [names[i] for i in np.flatnonzero(free & (np.arange(accounts) % 2 == 0))]
            if "pilot" in programmes and len(pilot) > 20:
                for item in draw_assignments(
                    "pilot", pilot, k=len(pilot) * 2 // 5, draw=str(number)
                ):
                    index = names.index(item.account_id)
                    rows.append(
                        event(
                            item.account_id,
                            "action.decided",
                            now,
                            item.propensity,
                            action=action,
                            intervention="pilot",
                            arm=item.arm,
                        )
                    )
                    until[index] = number + 3  # the undrawn rest too: no second draw so soon
                    if item.arm == "treated":
                        called[index] = number + 3
                        rows.append(
                            event(
                                item.account_id,
                                "action.executed",
                                now + timedelta(hours=9),
                                action=action,
                                intervention="pilot",
                            )
                        )
                        foregone["pilot"].append(_chance_in_a_quarter(chance[index], effect))
            if "judged" in programmes:
                wish = expit(-1.2 - 1.3 * seen - 1.5 * hidden * secret)
                for index in np.flatnonzero(free & (np.arange(accounts) % 2 == 1)):
                    if hash_position("judged", names[index], draw=str(number)) < wish[index]:
                        rows.append(
                            event(
                                names[index],
                                "action.executed",
                                now + timedelta(hours=9),
                                action=action,
                                intervention="judged",
                            )
                        )
                        until[index] = called[index] = number + 3
                        foregone["judged"].append(_chance_in_a_quarter(chance[index], effect))
        chance = np.where(called > number, chance * (1 - effect), chance)
        for index in np.flatnonzero(running & (rng.random(accounts) < chance)):
            left[index] = number + 1
            rows.append(
                event(names[index], "contract.cancelled", now + timedelta(days=20), reason="price")
            )
    written = month(months)
    designs = []
    if "pilot" in programmes:
        designs.append(
            Design(
                design_id="pilot-90d",
                question="Does the call keep accounts?",
                action=action,
                intervention="pilot",
                mechanism="lottery",
                estimand="ITT",
                written_at=written,
            )
        )
    if "judged" in programmes:
        designs.append(
            Design(
                design_id="judged-90d",
                question="Does the call keep accounts?",
                action=action,
                intervention="judged",
                mechanism="judgement",
                estimand="ATT",
                window_days=1,
                washout_days=90,
                compare_within="csm",
                written_at=written,
            )
        )
    truth = {name: float(np.mean(values)) for name, values in foregone.items() if values}
    return EventWorld(
        events=frame(rows),
        features=pl.DataFrame(snapshots).cast({"as_of": pl.Datetime("us", "UTC")}),
        as_of=written,
        designs=tuple(designs),
        truth=truth,
    )


def _chance_in_a_quarter(monthly: float, effect: float) -> float:
    """The call's effect on leaving within three months, at the month's chance throughout."""
    return float((1 - monthly) ** 3 - (1 - monthly * (1 - effect)) ** 3)
