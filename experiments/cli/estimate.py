"""The command `estimate`: an effect from a table that is no timeline."""

from __future__ import annotations

from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from features.cli.options import CommandError, out, show_progress

if TYPE_CHECKING:
    from experiments.table_estimates.table_effects import TableEstimate


class Better(StrEnum):
    """Which direction of an outcome is good."""

    HIGHER = "higher"
    LOWER = "lower"


def estimate(
    file: Annotated[
        Path,
        typer.Argument(help="A table, one row for each account: CSV, Parquet or Stata (.dta)."),
    ],
    treated: Annotated[
        str, typer.Option(metavar="COLUMN", help="Says what was done: 0 and 1, or words.")
    ],
    outcome: Annotated[
        str, typer.Option(metavar="COLUMN", help="What came of it: 0 and 1, or an amount.")
    ],
    covariates: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN,COLUMN", help="Facts from before anything was done, to adjust for."
        ),
    ] = None,
    before: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="The outcome (or what is like it) measured before anything was done. It is adjusted "
            "for, and the method is tried on it, where no effect can be. Repeat it in order of time.",
        ),
    ] = None,
    facts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Another table with facts of the same accounts, such as a snapshot of the day before "
            "anything was done. Columns that --covariates and --before name are taken from it.",
        ),
    ] = None,
    account: Annotated[
        str, typer.Option(metavar="COLUMN", help="The account, by which --facts is joined.")
    ] = "account_id",
    cluster: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Rows with the same value count as one observation."),
    ] = None,
    segment: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Estimate for each of its values too.")
    ] = None,
    untreated: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="The value of the column treated that is to do nothing."),
    ] = None,
    lottery: Annotated[
        bool, typer.Option("--lottery", help="Chance decided, with equal odds for every row.")
    ] = False,
    odds: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARM=SHARE", help="The odds of the lottery, one for each arm: call=1/2."
        ),
    ] = None,
    better: Annotated[
        Better, typer.Option(help="Whether a higher or a lower outcome is good.")
    ] = Better.HIGHER,
    smallest: Annotated[
        float, typer.Option(min=0, help="The smallest effect that would matter, in the outcome.")
    ] = 0.0,
    currency: Annotated[
        str, typer.Option(help="What the outcome, --value and --cost are in, such as USD.")
    ] = "",
    value: Annotated[
        float | None,
        typer.Option(help="The money that 1 of the outcome is worth; of an amount of money: 1."),
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(metavar="ARM=AMOUNT", help="What it costs to act once; one for each arm."),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="Days over which the outcome was counted.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="A folder for estimate.html and estimate.json."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same file and seed, same numbers.")] = 1,
) -> None:
    """Estimate what was caused, from a table of who was acted on and what came of it.

    The checks, refusals and pictures are those of `keepwell report`. Where a check fails the answer is
    "do not use". Ends with 0 also then, and says so.
    """
    from experiments.table_estimates.arms_table import ROWS, Question, parse_odds, read_arms
    from experiments.table_estimates.page import estimate_json, write_estimate
    from experiments.table_estimates.table_effects import Worth, estimate_table
    from experiments.table_file import read_table, with_facts

    if odds and not lottery:
        raise CommandError("--odds are those of a lottery. Say --lottery too, or leave them out.")
    if (value is not None or cost) and not currency.strip():
        raise CommandError("Say what --value and --cost are in: --currency USD.")
    question = Question(
        treated=treated,
        outcome=outcome,
        untreated=untreated,
        covariates=tuple(name.strip() for name in (covariates or "").split(",") if name.strip()),
        before=tuple(before or ()),
        cluster=cluster,
        segment=segment,
        by_lot=lottery,
        odds=parse_odds(odds or ()),
    )
    given = read_table(file, ROWS, texts=(account,) if facts else ())
    if facts is not None:
        given = with_facts(
            given,
            read_table(facts, "facts", texts=(account,)),
            account=account,
            names=(*question.covariates, *question.before, *filter(None, (cluster, segment))),
            file=facts.name,
        )
    table = read_arms(given, file.name, question)
    if value is None and currency.strip() and not table.is_binary:
        value = 1.0
    worth = Worth(
        goal="higher" if better is Better.HIGHER else "lower",
        smallest_effect=smallest,
        value=value,
        currency=currency.strip(),
        costs=_amounts(cost or ()),
        when=f"Over {days} days" if days else "By this outcome",
    )
    with nullcontext() if as_json else show_progress("Estimating effects"):
        answer = estimate_table(table, file.name, question, worth, seed=seed)
    written = write_estimate(answer, folder) if folder else ()
    if as_json:
        typer.echo(estimate_json(answer), nl=False)
        return
    _show(answer)
    for path in written:
        out.print(str(path), highlight=False, markup=False)


def _amounts(given: list[str] | tuple[()]) -> dict[str, float]:
    amounts = {}
    for words in given:
        name, _, amount = words.rpartition("=")
        try:
            amounts[name.strip()] = float(amount)
        except ValueError:
            raise CommandError(
                f"--cost {words!r} is no arm with its cost. Write --cost ARM=AMOUNT."
            ) from None
    return amounts


def _show(answer: TableEstimate) -> None:
    from experiments.report.render import CHECK_WORDS

    for effect in answer.effects:
        out.print(effect.headline, highlight=False, markup=False)
        if effect.money_sentence and effect.is_claimed:
            out.print(effect.money_sentence, highlight=False, markup=False)
        shown = Table("", "estimate", "95 % interval", "rows acted on; not", title=effect.arm)
        rows = [("effect", effect.estimate), ("plain difference", effect.plain)]
        rows += [
            (f"{answer.question.segment}: {one.segment}", one.estimate) for one in effect.segments
        ]
        for name, found in rows:
            shown.add_row(
                name,
                answer.size(found.estimate),
                f"{answer.size(found.low)} to {answer.size(found.high)}",
                f"{found.n_treated:,}; {found.n_control:,}",
            )
        out.print(shown)
        for check in effect.checks:
            out.print(
                f"{CHECK_WORDS[check.verdict]}  {check.title}: {check.explanation}",
                highlight=False,
                markup=False,
            )
        for reason, (acted_on, other) in effect.left_out.items():
            if acted_on + other:
                out.print(
                    f"Left out, {reason}: {acted_on:,} acted on, {other:,} not.",
                    highlight=False,
                    markup=False,
                )
    if answer.unknown_arm:
        out.print(
            f"Left out, {answer.question.treated} is empty: {answer.unknown_arm:,} rows.",
            highlight=False,
            markup=False,
        )
