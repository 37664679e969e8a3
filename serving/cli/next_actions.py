"""Commands that say what to do next, and plan a team's week."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from features.cli.options import (
    DEFAULT_WORKSPACE,
    AsOf,
    InWorkspace,
    moment_of,
    out,
    plural,
    read_text_file,
    show_progress,
    time_of,
)
from features.workspace import Workspace
from features.workspace_files import write_atomically
from serving.cli.ledger import open_ledger
from serving.cli.models import store_of
from serving.cli.scores import ensure_snapshots, say_learned_later

if TYPE_CHECKING:
    from serving.decisions.exploration_settings import ExplorationSettings
    from serving.recommendations.recommend import ProposedDecision

TEAM_FILE = "a TOML file that lists CSMs or pools with their hours"


def actions(
    file: Annotated[Path, typer.Option("--out", help="The JSON file to write.")],
    as_of: AsOf = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Rank the next best actions of every account, with what was withheld and why."""
    from serving.recommendations.snapshot import recommendations_as_of

    place = Workspace(workspace)
    moment = moment_of(place, as_of)
    with show_progress("Ranking actions"):
        ensure_snapshots(place, moment)
        answer = recommendations_as_of(
            place, store_of(place), moment, rules=chance_of(place), asked_at=_asked_at(place, as_of)
        )
        write_atomically(file, json.dumps(answer, indent=1, allow_nan=False).encode())
    out.print(
        f"Next actions of {plural(len(answer['accounts']), 'account')} as of "
        f"{moment:%Y-%m-%d} in {file}."
    )
    if as_of is not None:
        say_learned_later(place, moment)


def plan(
    team: Annotated[
        Path,
        typer.Argument(
            help="A TOML file: hours, skills and territories of CSMs and pools, budgets, care."
        ),
    ],
    file: Annotated[Path, typer.Option("--out", help="The JSON file to write.")],
    as_of: AsOf = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Plan a team's week: who does what for which account, and what one more hour would bring."""
    from experiments.planning.team import read_team

    place = Workspace(workspace)
    who = read_team(
        read_text_file(team, TEAM_FILE), str(team)
    )  # before what takes seconds to import

    from features.streaming.refresh import clock_of
    from serving.decisions.exploration_settings import week_of
    from serving.decisions.saved_plan import build_saved_plan, save_plan
    from serving.recommendations.plans import document_of, plan_as_of
    from serving.timeline.plan_draws import store_plan_draws
    from serving.timeline.store import TimelineStore

    moment = moment_of(place, as_of)
    with show_progress("Planning the week"):
        ensure_snapshots(place, moment)
        week = plan_as_of(
            place,
            store_of(place),
            moment,
            who,
            rules=chance_of(place),
            asked_at=_asked_at(place, as_of),
        )
        currency = place.settings.currency
        answer = document_of(week, as_of=moment, currency=currency)
        write_atomically(file, json.dumps(answer, indent=1, allow_nan=False).encode())
        made_at, made_by = clock_of(place, lambda: time_of(place)), f"keepwell plan {team.name}"
        if week.lots:
            with open_ledger(place, must_exist=False) as ledger:
                store_plan_draws(
                    ledger,
                    TimelineStore(place),
                    week,
                    week=week_of(moment),
                    at=made_at,
                    made_by=made_by,
                )
        save_plan(
            place,
            build_saved_plan(
                week, as_of=moment, currency=currency, made_at=made_at, made_by=made_by
            ),
        )
    out.print(
        f"{plural(len(answer['actions']), 'action')} for the week of {moment:%Y-%m-%d}, worth "
        f"{answer['value']:,.0f} {answer['currency']} on a cautious count "
        f"({answer['share_of_bound']:.1%} of what no plan can exceed), in {file}; "
        f"{plural(len(answer['waiting']), 'action')} wait."
    )
    if as_of is not None:
        say_learned_later(place, moment)
    scarce = max(answer["hours"], key=lambda hours: hours["price"])
    if scarce["price"] > 0:
        out.print(
            f"One more hour of {scarce['id']} would bring {scarce['price']:,.0f} "
            f"{answer['currency']}.",
            markup=False,
        )


def _asked_at(place: Workspace, as_of: datetime | None) -> datetime | None:
    """The time of the service; a question about a moment that was given is asked at that moment."""
    return time_of(place) if as_of is None else None


def chance_of(place: Workspace) -> ExplorationSettings | None:
    """How far the workspace lets chance decide."""
    from serving.decisions.exploration_settings import read_exploration_settings
    from serving.settings import service_settings

    return read_exploration_settings(place.root, service_settings(os.environ).lottery_key)


def account_lines(one: ProposedDecision) -> str:
    """One account as a person reads it: the numbers, the reasons, the next action."""
    from serving.text_format import NOT_KNOWN, money, percent, percent_range

    score, best = one.score, one.recommendation.ranked[0]
    at_90 = score.churn_at(90)
    chance = NOT_KNOWN
    if at_90 is not None and at_90.probability is not None:
        chance = f"{percent(at_90.probability)} ({percent_range(at_90.low, at_90.high)})"
    name = score.attributes.get("account_name") or score.account_id
    source = "the model" if score.source == "model" else "the health formula"
    lines = [
        f"{name}: {money(score.revenue_at_risk, score.currency)} of yearly revenue at risk; likely to leave "
        f"within 90 days: {chance}, says {source}; health "
        + (f"{score.health.score:.0f} of 100." if score.health.score is not None else "not known."),
        *(
            f"   · {'' if reason.is_risk else 'For staying: '}{reason.sentence}"
            for reason in score.reasons.top(3)
        ),
        f"   → {best.name}: {best.because}",
    ]
    return "\n".join(lines) + "\n"
