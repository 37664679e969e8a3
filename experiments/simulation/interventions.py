"""The programmes of the simulated company: their actions, accounts and true effects.

A programme decides at the start of each month for a group of accounts: by lottery (k of n, the
order is a hash, so anybody can repeat it) or by a CSM's judgement. An account takes part in one
programme at a time and rests until its effect is over, so no two effects ever overlap.
The truth of an effect is a factor on the chance to leave; it is known here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from experiments.randomisation.assignment import draw_assignments
from experiments.simulation.accounts import LANES, Accounts
from experiments.simulation.event_rows import event_rows, flat_json
from experiments.simulation.settings import Bools, Floats, Ints

EFFECT_DAYS = 90
REST_DAYS = 90
ONBOARDING_DAYS = (4, 45)
SETTLED_DAYS = 57
"""From this age on an account has two full windows of 28 days to be judged by."""

SURE_TO_STAY = 0.02
"""Below this monthly chance to leave, an account is sure to stay."""

DECIDED_AT, EXECUTED_AT, DECLINED_AT = 0, 14 * 3600, 15 * 3600  # seconds of the day

USUAL_USE = 0.11
"""Mean daily people over seats of an average account."""

Group = Literal["onboarding", "at_risk", "runway", "settled"]


@dataclass(frozen=True, kw_only=True)
class Programme:
    """One intervention over the whole world, and its true effect."""

    name: str
    action: str  # an action of the playbook
    assignment: Literal["lottery", "judgement"]
    group: Group
    lane: str | None  # of the CSM; None: every lane
    factors: tuple[float, float, float]  # on the chance to leave, by segment
    factor_if_sure: float | None = None  # replaces them where the account was sure to stay
    carried_out: float = 1.0  # share of the treated who receive it
    leaks: float = 0.0  # share of the controls who receive it all the same
    half: int | None = None  # takes only accounts whose number is of this parity


PROGRAMMES: tuple[Programme, ...] = (
    Programme(
        name="champion_training_pilot",
        action="champion_training",
        assignment="lottery",
        group="onboarding",
        lane=None,
        factors=(0.45, 0.85, 0.95),
        carried_out=0.9,
        half=0,
    ),
    Programme(
        name="success_call_pilot",
        action="success_call",
        assignment="lottery",
        group="at_risk",
        lane="pilot",
        factors=(0.97, 0.28, 0.22),
        carried_out=0.9,
        leaks=0.03,
    ),
    Programme(
        name="success_call_by_judgement",
        action="success_call",
        assignment="judgement",
        group="runway",
        lane="judgement",
        factors=(0.97, 0.28, 0.22),
    ),
    Programme(
        name="tips_email_test",
        action="tips_email",
        assignment="lottery",
        group="settled",
        lane="digital",
        factors=(1.0, 1.0, 1.0),
        half=0,
    ),
    Programme(
        name="concession_test",
        action="concession",
        assignment="lottery",
        group="settled",
        lane="digital",
        factors=(1.0, 1.0, 1.0),
        factor_if_sure=7.0,
        half=1,
    ),
)
"""The programmes. `success_call` is there twice: once by lottery, once confounded on purpose."""


@dataclass(frozen=True, kw_only=True)
class ObservedAccounts:
    """The facts that a CSM sees of each account on the morning of a decision; nothing latent."""

    use: Floats  # mean daily people over seats, 28 days
    trend: Floats  # the same over the 28 days before
    severe_tickets: Ints  # 28 days
    silence_days: Ints  # since the newest known sponsor touch
    days_to_renewal: Ints
    age_days: Ints

    def looks_bad(self) -> Floats:
        """How bad an account looks to a CSM; 0 is usual."""
        return (
            np.log(USUAL_USE / np.maximum(self.use, 0.01)).clip(-1.5, 1.5)
            + 0.3 * (1 - np.minimum(self.trend, 2.0))
            + 0.3 * np.minimum(self.severe_tickets, 2)
            + 0.3 * (np.minimum(self.silence_days, 90) / 45 - 0.7)
        )


def judgement_propensity(observed: ObservedAccounts) -> Floats:
    """Chance that a CSM picks the account: by how bad it looks and how near the renewal is."""
    near = np.where(observed.days_to_renewal <= 45, 0.2, -0.2)
    return np.clip(1 / (1 + np.exp(0.5 - 3.2 * observed.looks_bad() - near)), 0.08, 0.87)


def is_in_group(group: Group, observed: ObservedAccounts) -> Bools:
    """Whether an account is of the kind that a programme is about."""
    settled = observed.age_days >= SETTLED_DAYS
    if group == "onboarding":
        low, high = ONBOARDING_DAYS
        return (observed.age_days >= low) & (observed.age_days <= high)
    if group == "settled":
        return settled
    runway = settled & (observed.days_to_renewal <= 90)
    return runway & (observed.looks_bad() > -0.1) if group == "at_risk" else runway


def is_in_lane(programme: Programme, accounts: Accounts) -> Bools:
    """Whether the account's CSM, and its half of the accounts, take part."""
    everyone = np.ones(len(accounts), dtype=np.bool_)
    lane = everyone if programme.lane is None else accounts.lane == LANES.index(programme.lane)
    return (
        lane if programme.half is None else lane & (np.arange(len(accounts)) % 2 == programme.half)
    )


def draw_half(
    account_ids: list[str], eligible: Ints, design: str, month: int
) -> tuple[Bools, float]:
    """Draw half of the eligible accounts; who was drawn, and the propensity k / n of each."""
    names = [account_ids[index] for index in eligible]
    drawn = draw_assignments(design, names, k=len(names) // 2, draw=f"{month:02d}")
    treated = {assignment.account_id for assignment in drawn if assignment.arm == "treated"}
    return np.array([name in treated for name in names]), drawn[0].propensity


def true_factor(programme: Programme, accounts: Accounts, rows: Ints, chance: Floats) -> Floats:
    """The factor on the chance to leave if the action is carried out.

    ``chance`` is the true monthly chance to leave at the decision.
    """
    factor = np.array(programme.factors)[accounts.segment[rows]]
    if programme.factor_if_sure is not None:
        factor = np.where(chance < SURE_TO_STAY, programme.factor_if_sure, factor)
    return factor


def decision_rows(decisions: pl.DataFrame) -> pl.DataFrame:
    """Decisions, with their propensity where chance decided; what was done and what was not."""

    def part(
        kind: str, frame: pl.DataFrame, second: int, names: list[str], **fixed: str
    ) -> pl.DataFrame:
        drawn = frame["assignment"] == "lottery"
        propensity = pl.select(pl.when(drawn).then(frame["propensity"])).to_series()
        columns: dict[str, pl.Series | str] = {name: frame[name] for name in names}
        return event_rows(
            kind,
            frame["account"].to_numpy(),
            frame["day"].to_numpy(),
            np.full(frame.height, second),
            delay=1,
            quantity=propensity.to_numpy() if kind == "action.decided" else None,
            properties=flat_json(**columns, **fixed),
        )

    executed = decisions.filter("executed")
    declined = decisions.filter((pl.col("assignment") == "judgement") & ~pl.col("executed"))
    return pl.concat(
        [
            part(
                "action.decided",
                decisions,
                DECIDED_AT,
                ["action", "decision_id", "intervention", "arm"],
            ),
            part(
                "action.executed",
                executed,
                EXECUTED_AT,
                ["action", "decision_id", "intervention"],
                by="csm",
            ),
            part(
                "action.declined",
                declined,
                DECLINED_AT,
                ["action", "decision_id"],
                reason="judgement",
            ),
        ]
    )
