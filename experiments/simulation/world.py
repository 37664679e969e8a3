"""A simulated company: its timeline, and the truth kept apart from it.

``simulate`` is pure; ``write_world`` puts the timeline and the truth into two folders, of which
the product reads only the first.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import polars as pl

from experiments.simulation.accounts import (
    PLAN_PRICE,
    PLAN_UNITS,
    PLANS,
    SEGMENTS,
    Accounts,
    account_rows,
    draw_accounts,
)
from experiments.simulation.contract_history import (
    ContractHistory,
    ObservableSigns,
    simulate_contracts,
)
from experiments.simulation.event_rows import cut_after_end, draw_corrections, events_of_rows, texts
from experiments.simulation.ground_truth import Truth, add_potential_outcomes, mrr_at, true_effects
from experiments.simulation.interventions import PROGRAMMES, Programme, decision_rows
from experiments.simulation.latent_health import draw_incidents, draw_paths
from experiments.simulation.processes.billing import invoice_rows
from experiments.simulation.processes.contacts import contact_rows, draw_touches
from experiments.simulation.processes.contracts import NEVER, contract_rows
from experiments.simulation.processes.engagement import (
    incident_rows,
    onboarding_rows,
    sign_rows,
    success_rows,
)
from experiments.simulation.processes.support import draw_tickets, ticket_rows
from experiments.simulation.processes.usage import (
    FEATURES,
    draw_activity,
    draw_units,
    failure_rows,
    feature_rows,
    metered_rows,
    session_rows,
)
from experiments.simulation.settings import Bools, Calendar, Codes, Floats, Matrix, WorldSettings
from registry.playbook.prices import PRICES_FILE, Price, PriceList, prices_toml

EVENTS_FILE = "events.parquet"
EVENTS_FOLDER, TRUTH_FOLDER = "events", "truth"
CORRECTED_KINDS = ("billing.invoice", "ticket.resolved")
CORRECTED_SHARE, CORRECTED_AFTER_DAYS = 0.01, 3
LATE_DAYS_SHARE = 0.02
"""Of all days: the warehouse was down, and that day's use arrived two days late."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A simulated company: the events that the product may read, and the truth that it must not."""

    settings: WorldSettings
    events: pl.DataFrame  # EVENT_SCHEMA, in order of recorded_at
    truth: Truth


def simulate(
    settings: WorldSettings,
    rng: np.random.Generator,
    *,
    programmes: tuple[Programme, ...] = PROGRAMMES,
) -> World:
    """Simulate a company; the same settings and seed give the same world, to the bit.

    ``programmes`` are what it tries, one at least.
    """
    calendar = settings.calendar
    streams = rng.spawn(10)
    accounts = draw_accounts(settings, streams[0])
    incidents = draw_incidents(accounts, calendar, streams[1])
    paths = draw_paths(accounts, incidents, calendar, streams[2])
    activity = draw_activity(accounts, paths, calendar, streams[3])
    signs = ObservableSigns(
        activity=activity,
        units=draw_units(accounts, activity, streams[4]),
        tickets=draw_tickets(paths, activity, streams[5]),
        touches=draw_touches(accounts, paths, calendar, streams[6]),
    )
    chronicle = simulate_contracts(accounts, paths, signs, calendar, streams[7], programmes)
    draws = streams[8]
    plan, limit = _terms_by_day(accounts, chronicle.log, calendar)
    here = _presence(accounts, chronicle, calendar)
    late = _late_days(calendar, draws)
    used_rows, uses = feature_rows(accounts, paths, activity, plan, here, late, draws)
    revenue = 12 * _first_mrr(chronicle.log, len(accounts))
    rows = pl.concat(
        [
            account_rows(accounts, chronicle.log, revenue),
            contract_rows(chronicle.log, calendar, draws),
            decision_rows(chronicle.decisions),
            session_rows(activity, here, draws),
            used_rows,
            failure_rows(paths, uses, draws),
            metered_rows(signs.units, limit, here, calendar),
            ticket_rows(signs.tickets, accounts, revenue, calendar, draws),
            contact_rows(signs.touches, accounts, paths, draws),
            onboarding_rows(accounts, paths, calendar, draws),
            sign_rows(accounts, paths, draws),
            success_rows(accounts, paths, calendar, draws),
            incident_rows(incidents),
            invoice_rows(chronicle.log, accounts, paths, calendar, draws),
        ]
    )
    rows = cut_after_end(rows, ends=chronicle.ends, calendar=calendar)
    rows = rows.sort("recorded", "account", "kind", "occurred", maintain_order=True)
    rows = rows.with_row_index("event")
    again = draw_corrections(
        rows, CORRECTED_KINDS, CORRECTED_SHARE, CORRECTED_AFTER_DAYS, draws.random(rows.height)
    )
    rows = pl.concat([rows, cut_after_end(again, ends=chronicle.ends, calendar=calendar)]).sort(
        "recorded", maintain_order=True
    )
    return World(
        settings=settings,
        events=events_of_rows(rows, accounts.ids, activity.user_ids, calendar),
        truth=_truth(accounts, chronicle, calendar),
    )


def write_world(world: World, folder: Path) -> Path:
    """Write ``folder/events`` for the product and ``folder/truth`` for nobody else.

    Returns the mapping file; ``keepwell ingest FOLDER/events --mapping`` it.
    """
    events, truth = folder / EVENTS_FOLDER, folder / TRUTH_FOLDER
    events.mkdir(parents=True, exist_ok=True)
    truth.mkdir(parents=True, exist_ok=True)
    world.events.write_parquet(events / EVENTS_FILE)
    for table in fields(world.truth):
        getattr(world.truth, table.name).write_parquet(truth / f"{table.name}.parquet")
    mapping = events / "mapping.toml"
    mapping.write_text(
        MAPPING.format(
            until=world.settings.calendar.ends_at.date().isoformat(),
            file=EVENTS_FILE,
            names=",".join(f'\n    "{name}"' for name in FEATURES),
        ),
        encoding="utf-8",
    )
    (events / PRICES_FILE).write_text(
        prices_toml(PRICES, heading="What the simulated company sells, in USD a month."),
        encoding="utf-8",
    )
    return mapping


MAPPING = """\
# The simulated company writes events in Keepwell's own schema: every column is named as it is.
name = "simulated"
tenant = "Simulated company"
currency = "USD"
zone = "UTC"
complete_until = {until}T00:00:00Z
use_names = [{names},
]

[tables.events]
files = ["{file}"]
event_id = "event_id"
account = "account_id"
user = "user_id"
kind_column = "kind"
occurred_at = "occurred_at"
recorded_at = "recorded_at"
event_count = "event_count"
user_count = "user_count"
quantity = "quantity"
properties_column = "properties"
"""


def read_truth(folder: Path) -> Truth:
    """Read the truth that ``write_world`` wrote; for tests and reports about the method."""
    return Truth(
        **{
            table.name: pl.read_parquet(folder / TRUTH_FOLDER / f"{table.name}.parquet")
            for table in fields(Truth)
        }
    )


def _terms_by_day(
    accounts: Accounts, log: pl.DataFrame, calendar: Calendar
) -> tuple[Codes, Matrix]:
    """Plan and unit limit per account and day, trials by the plan that they try."""
    plan = np.repeat(accounts.plan[:, None], calendar.days, axis=1).astype(np.int8)
    units = np.array(PLAN_UNITS)
    limit = np.repeat(
        (units[accounts.plan] * accounts.seats)[:, None].astype(np.float32), calendar.days, axis=1
    )
    changes = log.filter(pl.col("kind").is_in(["contract.changed", "contract.renewed"]))
    for account, day, new_plan, seats in changes.select("account", "day", "plan", "seats").rows():
        plan[account, day:] = new_plan
        limit[account, day:] = units[new_plan] * seats
    return plan, limit


def _presence(accounts: Accounts, chronicle: ContractHistory, calendar: Calendar) -> Bools:
    """Accounts x days: on a trial or under a running contract, and not paused."""
    day = np.arange(calendar.days)[None, :]
    here = (day >= accounts.begins[:, None]) & (day < chronicle.ends[:, None])
    for rows, since, until in chronicle.pauses:
        for row, start, end in zip(rows, since, until, strict=True):
            here[row, start:end] = False
    return here


def _late_days(calendar: Calendar, rng: np.random.Generator) -> Bools:
    """Days whose use arrived late; never near a month's end, where decisions are made."""
    late = rng.random(calendar.days) < LATE_DAYS_SHARE
    for first in calendar.month_starts[: calendar.months + 1]:
        late[max(first - 5, 0) : first] = False
    return late


def _first_mrr(log: pl.DataFrame, n: int) -> Floats:
    mrr = np.zeros(n)
    started = log.filter(pl.col("kind") == "contract.started")
    mrr[started["account"].to_numpy()] = started["mrr"].to_numpy()
    return mrr


def _truth(accounts: Accounts, chronicle: ContractHistory, calendar: Calendar) -> Truth:
    ids, ends = pl.Series(accounts.ids), pl.Series(chronicle.ends)
    starts_at = calendar.starts_at

    def named(frame: pl.DataFrame, at: str) -> pl.DataFrame:
        instant = (pl.lit(starts_at) + pl.duration(days=pl.col("day"))).alias(at)
        return frame.select(
            pl.Series("account_id", ids.gather(frame["account"])),
            instant,
            pl.exclude("account", "day"),
        )

    decisions = add_potential_outcomes(chronicle.decisions, chronicle.exits)
    decisions = decisions.with_columns(
        mrr_at_90d=mrr_at(decisions, chronicle.log, 90),
        retained_90d=ends.gather(decisions["account"]) >= decisions["day"] + 90,
    )
    left = ends.replace(NEVER, None)
    people = pl.DataFrame(
        {
            "account_id": ids,
            "segment": texts(list(SEGMENTS), accounts.segment),
            "temper": accounts.temper,
            "trial_converts": accounts.converts,
            "contract_from_day": accounts.contract_from,
            "left_on_day": left,
        }
    )
    chances = chronicle.chances.with_columns(
        left_90d=ends.gather(chronicle.chances["account"]) < chronicle.chances["day"] + 90,
        is_mature=pl.col("day") + 90 <= calendar.days,
    )
    return Truth(
        accounts=people,
        chances=named(chances, "as_of"),
        decisions=named(decisions, "decided_at"),
        effects=true_effects(decisions),
    )


PRICES = PriceList(
    plans={
        name: Price(per_seat=price, next=after)
        for name, price, after in zip(PLANS, PLAN_PRICE, (*PLANS[1:], None), strict=True)
    },
    addons={
        "addon_integrations": Price(month=20),
        "addon_analytics": Price(month=15),
        "addon_model": Price(month=100),
        "addon_sso": Price(month=50),
    },
)
"""The prices that its contracts are made at; those of add-ons are the playbooks'."""
