"""The command `whom-to-act-on`: from the file of a lottery, or from the workspace."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from experiments.cli.lottery import decide_from_file
from features.cli.options import (
    DEFAULT_WORKSPACE,
    AnyWorkspace,
    AsOf,
    CommandError,
    moment_of,
    out,
    plural,
    require_workspace,
    show_progress,
    time_of,
)
from features.workspace import Workspace
from features.workspace_files import write_atomically
from serving.cli.ledger import open_ledger
from serving.cli.models import store_of
from serving.cli.next_actions import chance_of
from serving.cli.scores import ensure_snapshots, say_learned_later

if TYPE_CHECKING:
    from experiments.randomisation.keyed_draw import Draw
    from serving.decisions.exploration_settings import ExplorationSettings
    from serving.recommendations.whom_next import NextAccount, WhomNext

FROM_A_FILE = "From the file of a lottery"
FROM_THE_WORKSPACE = "From the workspace, without a lottery"
SHOWN = 10


def whom_to_act_on(
    file: Annotated[Path, typer.Option("--out", help="The CSV or Parquet file to write.")],
    lottery: Annotated[
        Path | None,
        typer.Argument(
            help="A CSV or Parquet file of a lottery's trials with account_id, action, propensity (the "
            "probability with which that action was drawn), outcome (in money, before the cost of "
            "the action), and facts from before the draw. Without it the workspace is read."
        ),
    ] = None,
    asked: Annotated[
        Path | None,
        typer.Option(
            help="A file of the accounts to decide about: account_id, each once, and the same facts.",
            rich_help_panel=FROM_A_FILE,
        ),
    ] = None,
    currency: Annotated[
        str,
        typer.Option(
            help="What outcomes and costs are in, such as USD.", rich_help_panel=FROM_A_FILE
        ),
    ] = "",
    cost: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ACTION=AMOUNT",
            help="What it costs to do an action once; one for each.",
            rich_help_panel=FROM_A_FILE,
        ),
    ] = None,
    no_action: Annotated[
        str,
        typer.Option(
            "--no-action",
            metavar="WORD",
            help="The action that is to do nothing.",
            rich_help_panel=FROM_A_FILE,
        ),
    ] = "none",
    stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A column of 0 and 1: whether a trial came so far on the way to its "
            "outcome (visited). Repeat it in the order of the way; no outcome "
            "may come without it. Helps where actions work on the way, costs a "
            "little where they change only the last step.",
            rich_help_panel=FROM_A_FILE,
        ),
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A column that is no fact from before the draw; may be repeated.",
            rich_help_panel=FROM_A_FILE,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs.", rich_help_panel=FROM_A_FILE)
    ] = False,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Same files and seed, same numbers.", rich_help_panel=FROM_A_FILE),
    ] = 1,
    action: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The action of the playbook to rank accounts for.",
            rich_help_panel=FROM_THE_WORKSPACE,
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            min=1, help="So many accounts, the best first.", rich_help_panel=FROM_THE_WORKSPACE
        ),
    ] = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="Store a decision for each account in the file for which the action comes first.",
            rich_help_panel=FROM_THE_WORKSPACE,
        ),
    ] = False,
    draw: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="NUMBER",
            help="Draw so many by lot and leave the others alone for 90 days, so that the next "
            "report can say what the action did. Stores the draw, and a decision for each that "
            "was drawn.",
            rich_help_panel=FROM_THE_WORKSPACE,
        ),
    ] = None,
    as_of: AsOf = None,
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Decide whom to act on, and with what.

    With the file of a lottery each account gets the action expected to bring it most beyond its
    cost, or none, if telling accounts apart brought more than the same for everybody on accounts
    that it was not learned from; else all get the action expected to be best for all. Both are in
    the file. Ends with 0 also where telling accounts apart was not shown to pay, and says so.

    Without it, for one action, the accounts of the workspace are ranked by its measured effect in
    their segment times the money at stake less its cost, each with its grade and what could be wrong.
    """
    if file.suffix.lower() not in (".csv", ".parquet") or file.is_dir():
        raise CommandError(
            f"{file} is to hold a table. Name a file, not a folder, that ends in "
            f".csv or .parquet with --out."
        )
    if lottery is not None:
        if action or most or record or draw:
            raise CommandError(
                "--action, --most, --record and --draw are about the workspace, and a file of a "
                "lottery was named, too. Leave one of the two out."
            )
        if asked is None:
            raise typer.BadParameter(
                "Name the accounts to decide about: --asked FILE, with the same facts as the lottery."
            )
        if not currency:
            raise typer.BadParameter("Say what outcomes and costs are in: --currency USD.")
        decide_from_file(
            lottery,
            asked,
            currency=currency,
            file=file,
            cost=cost,
            no_action=no_action,
            stage=stage,
            leave_out=leave_out,
            as_json=as_json,
            seed=seed,
        )
        return
    if action is None:
        raise CommandError(
            "Name the file of a lottery, or an action of the playbook to rank the accounts of the "
            "workspace for: --action success_call."
        )
    if draw is not None and most is not None:
        raise CommandError(
            "--draw says how many are drawn, and --most how many are listed. Leave one of the two out."
        )
    _from_the_workspace(
        Workspace(require_workspace(workspace)),
        action,
        file,
        most=most,
        record=record,
        drawn=draw,
        as_of=as_of,
    )


def _from_the_workspace(
    place: Workspace,
    action: str,
    file: Path,
    *,
    most: int | None,
    record: bool,
    drawn: int | None,
    as_of: datetime | None,
) -> None:
    from experiments.policy.contact.limits_file import read_limits
    from experiments.randomisation.assignment import LotteryError
    from experiments.table_file import table_bytes
    from features.streaming.refresh import clock_of
    from serving.decisions.company_rules import rules_of
    from serving.recommendations.recommend import in_common
    from serving.recommendations.snapshot import decisions_as_of
    from serving.recommendations.whom_next import draw_lottery, whom_next
    from serving.timeline.plan_draws import lottery_name

    company = rules_of(place)
    known = company.playbook.by_id
    if action not in known:
        near = get_close_matches(action, known, 3)
        raise CommandError(
            f"The playbook has no action {action!r}."
            + (f" Did you mean {' or '.join(near)}?" if near else "")
            + " keepwell actions and docs/reference/actions.md list them."
        )
    rules = chance_of(place)
    if drawn is not None:
        _check_draws(rules, as_of)
    moment = moment_of(place, as_of)
    shared = in_common(place.settings.catalogue, company)
    with show_progress("Ranking accounts"):
        ensure_snapshots(place, moment)
        found = whom_next(
            decisions_as_of(
                place,
                store_of(place),
                moment,
                rules=rules,
                asked_at=time_of(place) if as_of is None else None,
                shared=shared.digest,
            ),
            action,
        )
    at = clock_of(place, lambda: time_of(place))
    lot, allowed = None, len(found.accounts)
    if drawn is not None and rules is not None:
        _check_not_drawn(place, lottery_name(action, f"{at:%Y-%m-%d}"), action)
        try:
            lot = draw_lottery(found, drawn, rules=rules, at=at)
        except LotteryError as error:
            raise CommandError(str(error)) from error
        found = replace(
            found, accounts=tuple(one for one in found.accounts if one.account_id in lot.of)
        )
    elif most is not None:
        found = replace(found, accounts=found.accounts[:most])
    months = read_limits(place.root).horizon_months
    write_atomically(file, table_bytes(found.frame(months=months, lot=lot), file.suffix))
    stored = ""
    if lot is not None or record:
        keep = [
            one
            for one in found.accounts
            if one.is_first and (lot is None or one.account_id in lot.drawn)
        ]
        stored = _store(place, keep, lot, action, at, {shared.digest: shared.content})
    calls_for_it = (*known[action].triggers, *known[action].due)
    triggers = list(dict.fromkeys(condition.text for condition in calls_for_it))
    _say(
        found,
        lot,
        triggers,
        months=months,
        moment=moment,
        file=file,
        stored=stored,
        allowed=allowed,
    )
    if as_of is not None:
        say_learned_later(place, moment)


def _check_draws(rules: ExplorationSettings | None, as_of: datetime | None) -> None:
    if rules is None or not rules.lotteries:
        raise CommandError(
            "The workspace allows no lottery. Write lotteries = true and key_id into its chance.toml, "
            "and set KEEPWELL_LOTTERY_KEY (docs/how-to/let-chance-decide.md)."
        )
    if as_of is not None:
        raise CommandError(
            "A lottery is drawn now, not as of a moment that has passed. Leave --as-of out."
        )


def _check_not_drawn(place: Workspace, lottery: str, action: str) -> None:
    from serving.ledger.stores.plan_draws import is_drawn

    with open_ledger(place, must_exist=False) as ledger:
        if is_drawn(ledger.database, lottery):
            raise CommandError(
                f"A lottery of {action} was drawn in this workspace today, and stands: a second draw "
                f"among the same accounts would undo it. Draw again tomorrow."
            )


def _store(
    place: Workspace,
    keep: Sequence[NextAccount],
    lot: Draw | None,
    action: str,
    at: datetime,
    shared: dict[str, str],
) -> str:
    """Store the decisions and then the draw; what was stored, in words.

    Stopped between the two, the same command draws the same accounts again and stores what lacks.
    """
    from serving.timeline.plan_draws import draws_of_lottery, store_draws
    from serving.timeline.store import TimelineStore

    made_by = "keepwell whom-to-act-on"
    with open_ledger(place, must_exist=False) as ledger:
        ledger.append_decisions(
            [replace(one.proposed.decision, proposed_by=made_by) for one in keep],
            shared=shared,
        )
        if lot is not None:
            with closing(TimelineStore(place)) as timelines:
                draws = draws_of_lottery(lot, action, at=at, made_by=made_by)
                store_draws(ledger, timelines, draws, at=at)
    return f"{plural(len(keep), 'decision')} stored."


def _say(
    found: WhomNext,
    lot: Draw | None,
    triggers: Sequence[str],
    *,
    months: float,
    moment: datetime,
    file: Path,
    stored: str,
    allowed: int,
) -> None:
    from serving.recommendations.whom_next import COULD_BE_WRONG, NOT_BROUGHT_UP
    from serving.text_format import money, percent

    shown = Table(
        "account", "gain, cautious", "on average", "chance", "at stake", "cost", "measured", "grade"
    )
    for one in found.accounts[:SHOWN]:
        value, score = one.candidate.value, one.proposed.score
        shown.add_row(
            score.attributes.get("account_name") or one.account_id,
            money(value.cautious, score.currency),
            money(value.expected, score.currency),
            percent(value.probability),
            money(value.at_stake, score.currency),
            money(value.total_cost, score.currency),
            percent(value.belief.data_share if value.belief else 0.0),
            one.candidate.grade,
        )
    out.print(shown)
    grades = {
        one.candidate.value.belief.measured_grade if one.candidate.value.belief else None
        for one in found.accounts
    }
    of_them = "" if len(found.accounts) == allowed else f", of {allowed:,} that may get it"
    lines = [
        f"{plural(len(found.accounts), 'account')} for {found.action_id} as of {moment:%Y-%m-%d}"
        f"{of_them}, in {file}. Money is over {months:g} months, after costs; a report counts the days that "
        f"it follows accounts for.",
        *(COULD_BE_WRONG[grade] for grade in sorted(grades, key=str)),
    ]
    if found.held_back:
        counted = "; ".join(f"{count:,}: {why}" for why, count in found.held_back.items())
        lines.append(f"Not proposed for {sum(found.held_back.values()):,} more ({counted}).")
    if NOT_BROUGHT_UP in found.held_back and triggers:
        lines.append(f"{found.action_id} is called for by: {'; '.join(triggers)}.")
    if lot is not None:
        lines.append(
            f"Drawn by lot: {len(lot.drawn):,} of {len(lot.of):,}, so each had a chance of "
            f"{lot.propensity:.3g}. The others are left alone with it for 90 days, except where it "
            f"becomes urgent or is promised. Act on those that were drawn, then run keepwell report."
        )
    if stored:
        lines.append(stored)
    for line in lines:
        out.print(line, highlight=False, markup=False)
