"""Commands about a company's own rules: is the file right, and what would it have done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from features.cli.options import (
    DEFAULT_WORKSPACE,
    CommandError,
    InWorkspace,
    out,
    plural,
    show_progress,
)
from features.workspace import Workspace

if TYPE_CHECKING:
    from serving.decisions.company_rules import CompanyRules

RulesPath = Annotated[
    Path | None,
    typer.Argument(
        help="The file to look at; rules.toml and features.toml of the workspace, by default."
    ),
]


def check(file: RulesPath = None, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Say whether own rules and features can be used, and what is wrong with them, with the line."""
    from features.alerts.rule_set import RULES_FILE, RulesError
    from features.catalogue.catalogue import load_catalogue
    from features.catalogue.own_features import OwnFeatureError, read_own_features
    from serving.decisions.company_rules import SHIPPED_RULES, parse_rules

    place = Workspace(workspace)
    settings = place.settings
    shipped_features = load_catalogue(settings.use_names).names
    own = [name for name in settings.catalogue.names if name not in shipped_features]
    if own:
        out.print(f"own features: {', '.join(own)}", highlight=False, markup=False)
    if file is None and own and not (place.root / RULES_FILE).exists():
        return
    text = _text(place, file)
    if file is not None and "[[feature]]" in text:
        try:
            declared = read_own_features(text, shipped_features)
        except OwnFeatureError as error:
            raise CommandError(str(error)) from error
        listed = ", ".join(one.name for one in declared)
        out.print(f"The features can be used ({listed}).", highlight=False, markup=False)
        return
    try:
        found = parse_rules(text, tuple(sorted(settings.catalogue.names)))
    except RulesError as error:
        raise CommandError(str(error)) from error
    shipped = SHIPPED_RULES
    before = {rule.id: rule for rule in shipped.alerts.rules}
    now = {rule.id: rule for rule in found.alerts.rules}
    actions = found.playbook.by_id
    for words, names in (
        ("new warning signs", [n for n in now if n not in before]),
        ("changed warning signs", [n for n in now if n in before and now[n] != before[n]]),
        ("warning signs that are off", [n for n in before if n not in now]),
        ("new actions", [n for n in actions if n not in shipped.playbook.by_id]),
        (
            "changed actions",
            [n for n, one in shipped.playbook.by_id.items() if actions.get(n) != one],
        ),
        (
            "sequences that are off",
            sorted(
                {one.id for one in shipped.playbook.sequences}
                - {one.id for one in found.playbook.sequences}
            ),
        ),
    ):
        if names:
            out.print(f"{words}: {', '.join(names)}", highlight=False, markup=False)
    version = f"version {found.version}" if found.version else "the shipped rules, unchanged"
    out.print(f"The rules can be used ({version}).", highlight=False)


def preview(file: RulesPath = None, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Say what the warning signs of a file would have raised in the last year, beside those of now.

    How often, for how many accounts, how many of those that left had it 30 days before, and how many
    of those that had it left within 90 days, beside all accounts. It looks at the snapshots that there
    are; more of them say more (keepwell snapshot --every week).
    """
    from features.alerts.rule_set import RulesError
    from serving.decisions.company_rules import parse_rules, rules_of
    from serving.recommendations.rules_preview import preview_signs
    from serving.text_format import percent

    place = Workspace(workspace)
    names = tuple(sorted(place.settings.catalogue.names))
    try:
        wanted = parse_rules(_text(place, file), names)
        # the file of the workspace beside the shipped rules, another beside those that hold
        current = parse_rules("", names) if file is None else rules_of(place)
    except RulesError as error:
        raise CommandError(str(error)) from error
    with show_progress("Going through the last year"):
        found = preview_signs(place, now=current.alerts, then=wanted.alerts)
    shown = Table(
        "warning sign", "episodes, now", "with this file", "accounts", "caught", "left of raised"
    )
    for one in found.signs:
        shown.add_row(
            one.id,
            f"{one.now.episodes:,}",
            f"{one.then.episodes:,}",
            f"{one.then.accounts:,}",
            f"{one.then.caught:,} of {found.left:,}",
            f"{one.then.left_after:,} of {one.then.judged:,}"
            + (f" ({percent(one.then.left_after / one.then.judged)})" if one.then.judged else ""),
        )
    out.print(shown)
    if current.playbook.fingerprint != wanted.playbook.fingerprint:
        _print_actions(place, current, wanted)
    out.print(
        f"{plural(found.moments, 'snapshot')} from {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}, "
        f"{plural(found.accounts, 'account')}, of which {found.left:,} left. An episode is a run of "
        f"snapshots in which an account has the sign. Caught: left, and had it 30 days before or "
        f"earlier within a year. Left of raised: of the episodes that began at least 90 days before "
        f"the end, after how many the account had left within 90 days; of all accounts at all moments "
        f"{found.left_of_all:,} of {found.of_all:,}"
        + (f" ({percent(found.left_of_all / found.of_all)})." if found.of_all else "."),
        highlight=False,
        markup=False,
    )


def _print_actions(place: Workspace, current: CompanyRules, wanted: CompanyRules) -> None:
    """For how many accounts of the newest snapshot an action that differs is proposed, and first."""
    from serving.cli.models import store_of
    from serving.recommendations.rules_preview import proposals_of

    with show_progress("Ranking actions by both"):
        now, then = (proposals_of(place, store_of(place), rules) for rules in (current, wanted))
    shown = Table("action", "first, now", "with this file", "in the list, now", "with this file")
    for name in sorted({*now, *then}):
        before, after = now.get(name, (0, 0)), then.get(name, (0, 0))
        if before != after:
            shown.add_row(
                name, f"{before[0]:,}", f"{after[0]:,}", f"{before[1]:,}", f"{after[1]:,}"
            )
    if not shown.row_count:
        out.print("No account's first action and no list would be another.")
        return
    out.print(shown)
    out.print("Accounts of the newest snapshot; actions without a difference are left out.")


def _text(place: Workspace, file: Path | None) -> str:
    from features.alerts.rule_set import RULES_FILE, RulesError, rules_text

    if file is None:
        if not (place.root / RULES_FILE).exists():
            raise CommandError(
                f"The workspace has no {RULES_FILE}: the shipped rules hold. Name a file, or write one "
                f"(docs/how-to/declare-your-own-rules.md)."
            )
        try:
            return rules_text(place.root)
        except RulesError as error:
            raise CommandError(str(error)) from error
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"{file} cannot be read ({exc}). Name a text file.") from exc
