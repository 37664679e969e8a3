"""Write the reference pages that are made from code: `python docs/reference/generate.py`.

A test compares each page with what this prints, so a command, a setting, a file of a workspace, a
kind of event, an action, a route, a problem, a health formula, a feature, a warning sign or a
signal of the sources without its row is red.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import typer

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER)]

import damage_table  # noqa: E402  # the folders above have to be found first
import feature_catalogue  # noqa: E402
import source_signals  # noqa: E402
import warning_signs  # noqa: E402

import keepwell  # noqa: E402
from features.events.provenance import HOLDOUT, LAST_HOURS, LOTTERY  # noqa: E402
from features.events.schema import (  # noqa: E402
    CUSTOM_PREFIX,
    DATE_PROPERTIES,
    EARLIEST_DATE,
    KINDS,
    LARGEST_COUNT,
    LARGEST_QUANTITY,
    LARGEST_READ,
    LATEST_DATE,
    LONGEST_NAME,
    LONGEST_PROPERTIES,
)
from features.health.formula import FORMULAS  # noqa: E402
from features.ingest.columns import EARLIEST, LATEST  # noqa: E402
from features.ingest.expressions.columns import FUNCTIONS  # noqa: E402
from features.ingest.expressions.grammar import DEEPEST, LONGEST, MOST_PARTS  # noqa: E402
from features.ingest.mapping import MOST_COMPUTED  # noqa: E402
from features.workspace import SETTINGS_FILE, WorkspaceSettings  # noqa: E402
from registry.playbook.playbook import load_playbook  # noqa: E402
from serving.api.app import ROUTERS  # noqa: E402
from serving.api.route_problems import BY_FORM, kinds_of, problems_of  # noqa: E402
from serving.auth.roles import need_of  # noqa: E402
from serving.data_protection.places import PLACES  # noqa: E402
from serving.data_protection.stored_files.declaration import Place  # noqa: E402
from serving.http.ledger_problems import PROBLEM_KINDS  # noqa: E402
from serving.problems import ProblemKind  # noqa: E402

MADE_BY = "`python docs/reference/generate.py` writes this page."


def commands() -> str:
    """Every command with its words and options, from the command line itself."""
    lines = [
        "# Commands",
        "",
        "All that `keepwell` can be told, as `keepwell COMMAND --help` says it. Exit codes: 0 done,"
        " 1 a fault of Keepwell, or the command looked for something and found it, 2 the words of the"
        " command are off, 3 the input or the state does not allow it, 4 another process is writing"
        " to the workspace.",
        "",
        MADE_BY,
        "",
    ]
    for words, command in every_command(typer.main.get_command(keepwell.app)):
        lines += [f"## keepwell {words}", "", plain(command.help or ""), ""]
        rows = [row_of_parameter(one) for one in command.params if one.name != "help"]
        if rows:
            lines += ["| word | says | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def every_command(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """The commands of a group and of the groups below it, by their words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def row_of_parameter(one: Any) -> str:
    """A row of a table: how it is written, what it means, what holds without it."""
    words = " ".join(f"`{word}`" for word in (*one.opts, *one.secondary_opts))
    if one.param_type_name == "argument":
        words = f"`{(one.metavar or one.name).upper()}`"
    default = "required" if one.required else ""
    if not one.required and one.default not in (None, False, ()) and not callable(one.default):
        default = f"`{getattr(one.default, 'value', one.default)}`"
    return f"| {words} | {cell(one.help or '')} | {cell(default)} |"


def workspace() -> str:
    """The settings and the files of a workspace."""
    about = docstring_sentences(WorkspaceSettings)
    lines = [
        "# A workspace",
        "",
        "One folder holds all that one tenant has: events, features, models, decisions. While"
        " nobody serves or writes it, it can be copied and works elsewhere; of a live one take a"
        " [backup](../how-to/back-up-and-restore.md).",
        "",
        f"## Settings in {SETTINGS_FILE}",
        "",
        about,
        "",
        "| setting | default |",
        "|---|---|",
    ]
    for one in fields(WorkspaceSettings):
        if not one.metadata.get("is_setting", True):
            continue
        said = str(one.default).lower() if isinstance(one.default, bool) else one.default
        value = "" if one.default in (None, (), MISSING) else f"`{said}`"
        lines.append(f"| `{one.name}` | {value} |")
    lines += [
        "",
        "## Files",
        "",
        "Every file that Keepwell stores in a workspace. `*` is a name within one folder, `**` any path"
        " below it, and the first line that fits a file counts. A file that states no version has"
        " version 1. *Again* is the command that makes files again from others, and files without one are"
        " lost with their last copy. *Personal data*: `people` are users, contacts or staff, with the"
        " accounts they belong to.",
        "",
        "| file | holds | written by | format | stated in | a newer one is | personal data | again |"
        " in a backup |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [file_line(place) for place in PLACES]
    lines += [
        "",
        "`refused`: a command or the service says so in words, and changes nothing. `made again`: it"
        " counts as none, and is written anew from other files. `by another file`: the file that states"
        " the version is refused. `by its library`: MLflow or Feast say so. `not read`: Keepwell writes"
        " it for people and other programs, and does not read it back, or shows it as it was written.",
        "",
        MADE_BY,
        "",
    ]
    return "\n".join(lines)


def file_line(place: Place) -> str:
    """One line about the files of one place."""
    form, cells = place.format, [f"`{place.path}`", cell(place.holds), cell(place.written_by)]
    if form is None:
        cells += ["", "", ""]
    else:
        version = "" if form.version is None else f" {form.version}"
        cells += [f"{form.name}{version}", form.stated, form.newer]
    about = "" if place.about == "nobody" else place.about
    again = "" if place.rebuilt_by is None else f"`{place.rebuilt_by}`"
    return f"| {' | '.join([*cells, about, again, place.in_backup])} |"


def actions() -> str:
    """Every action and sequence of the playbook."""
    book = load_playbook()
    lines = [
        "# Actions and sequences",
        "",
        f"{len(book.actions)} actions and {len(book.sequences)} sequences, as"
        " `registry/playbook/actions.toml` and `sequences.toml` declare them."
        " What the fields mean: [the fields of the playbook](playbook.md). Sources:"
        " [sources](../sources.md).",
        "",
        MADE_BY,
        "",
        "## Actions",
        "",
        "| action | what to do | for | by | channel | cost | hours | at most |",
        "|---|---|---|---|---|---|---|---|",
    ]
    autonomy = ("", "a person does it", "a person approves", "a person may stop it", "automatic")
    for action in book.actions:
        lines.append(
            f"| `{action.id}` | {cell(action.text)} | {action.objective} | {action.owner_role} |"
            f" {action.channel} | {action.cost_usd:g} USD | {action.hours:g} |"
            f" {autonomy[action.max_autonomy]} |"
        )
    lines += ["", "## Sequences", "", "| sequence | name | steps, after hours |", "|---|---|---|"]
    for sequence in book.sequences:
        steps = ", ".join(f"`{step.action}` {step.after_hours:g}" for step in sequence.steps)
        lines.append(f"| `{sequence.id}` | {cell(sequence.name)} | {steps} |")
    return "\n".join([*lines, ""])


def health_formulas() -> str:
    """Every health formula with its components and their weights."""
    lines = [
        "# Health formulas",
        "",
        "A score of 0 to 100 by rules that can be checked by hand, as `features/health/formulas.toml`"
        " declares them. `health_formula` of the workspace says which one is shown.",
        "",
        MADE_BY,
        "",
    ]
    for formula in FORMULAS.values():
        lines += [f"## {formula.id}", "", formula.title, "", "| component | weight |", "|---|---|"]
        lines += [f"| {cell(one.name)} | {one.weight:g} |" for one in formula.components]
        lines.append("")
    return "\n".join(lines)


def routes() -> str:
    """Every route with what it asks of its callers, and what it refuses."""
    lines = [
        "# Routes",
        "",
        "Every address of the service, the permission that a key needs for it, and the kinds of"
        " problem that it answers with. What roles permit: [keys](../how-to/manage-keys.md). Requests"
        " and answers with examples: `/docs` of the running service; what callers need to know:"
        " [the API](api.md).",
        "",
        MADE_BY,
        "",
        "| route | does | permission | tells about | its own problems |",
        "|---|---|---|---|---|",
    ]
    for router, _, _ in ROUTERS:
        for route in router.routes:
            need = need_of(route.endpoint)
            permission = "none" if need is None or need.permission is None else need.permission
            about = "" if need is None else need.of
            does = route.summary or first_line(route.endpoint)
            own = slugs(problems_of(route.endpoint))
            for method in sorted(route.methods - {"HEAD"}):
                lines.append(
                    f"| `{method} {route.path}` | {cell(does)} | {permission} | {about} | {own} |"
                )
    lines += ["", "Besides its own problems a route has those of its form:", ""]
    lines += ["| a route | problems |", "|---|---|"]
    lines += [f"| {form} | {slugs(kinds_of(refusals))} |" for form, refusals in BY_FORM]
    lines += [
        "",
        "What each problem means and what helps: [problems](problems.md), and `/problems` of the"
        " running service.",
    ]
    return "\n".join([*lines, ""])


def slugs(kinds: Iterable[ProblemKind]) -> str:
    """The names of problems, for a cell."""
    return ", ".join(f"`{kind.slug}`" for kind in kinds)


def problems() -> str:
    """Every kind of problem, with its status and what helps."""
    lines = [
        "# Problems",
        "",
        "Every refusal of the API is `application/problem+json` (RFC 9457): `type` is `/problems#` and"
        " the name, `detail` says what was wrong with this request, `next` what helps. Which route"
        " answers with which: [routes](routes.md).",
        "",
        MADE_BY,
        "",
        "| problem | status | title | means | what helps |",
        "|---|---|---|---|---|",
    ]
    for kind in sorted(PROBLEM_KINDS, key=lambda kind: (kind.status, kind.slug)):
        words = " | ".join(map(cell, (kind.title, kind.meaning, kind.next_step)))
        lines.append(f"| `{kind.slug}` | {kind.status} | {words} |")
    return "\n".join([*lines, ""])


def events() -> str:
    """Every kind of event, with the bounds of its quantity and its properties."""
    lines = [
        "# Events",
        "",
        "The kinds of events, what their quantity means, how large it may be in either direction, and"
        " the properties that Keepwell reads; those in **bold** an event must have. Kinds of your own"
        f" begin with `{CUSTOM_PREFIX}`; they, and kinds without a quantity here, may have one of up to"
        f" {LARGEST_QUANTITY:,.0f}.",
        "",
        "An event is refused, with the reason, where its quantity is larger, where "
        + " or ".join(f"`{name}`" for name in DATE_PROPERTIES)
        + f" is written YYYY-MM-DD and no day from {EARLIEST_DATE:%Y} to {LATEST_DATE:%Y}, or where a"
        " property is missing that it must have. A name or an id has at most"
        f" {LONGEST_NAME} characters, all properties together {LONGEST_PROPERTIES:,}; a count is at most"
        f" {LARGEST_COUNT:,.0f}, and a moment lies from {EARLIEST:%Y} to {LATEST:%Y}. It is the same for"
        " the API, files and streams. The bounds are far beyond what happens"
        " ([why](../decisions/features-lake.md#bounds-of-events-are-declared-with-their-kinds)).",
        "",
        MADE_BY,
        "",
        "## Bounds of your own",
        "",
        f"`{SETTINGS_FILE}` may say other bounds. They hold from the next row on that is read, also while"
        " the service runs; what is on a timeline already stays.",
        "",
        "```toml",
        "[bounds]",
        "count = 1_000_000            # events or users that one row may stand for",
        "text = 500                   # characters of one property",
        "from_date = 1990-01-01       # renewal_on and due_on lie from here",
        "until_date = 2060-12-31      # to here",
        "[bounds.quantities]          # in either direction, by kind",
        '"contract.changed" = 5e13',
        '"custom.pallets" = 10_000',
        "```",
        "",
        f"A quantity can be bounded up to {LARGEST_READ:,.0f}, that of `action.decided` up to 1; the others"
        " can only be narrower than above.",
        "",
        "## What only Keepwell writes",
        "",
        "Keepwell puts what its ledger holds on the timeline itself: `action.decided`, `action.executed`,"
        " `action.declined`, `action.outcome` and `action.judged`, each with the id of its record, such as"
        " `outcome-2c5ea4c0-…`. Other systems may send the same kinds: that is how the past of your own"
        " engine comes in, and reports on what it did. Such an event is a claim of another system, and kept"
        " apart:",
        "",
        "- An id of the form of Keepwell's own records is refused, so nothing from outside stands before,"
        " corrects or hides what Keepwell wrote.",
        f"- An `action.decided` with `chance` or `draw_id`, or with the intervention `{HOLDOUT}` or one that"
        f" begins with `{LAST_HOURS}` or `{LOTTERY}`, is refused: these are Keepwell's own"
        " draws, and evidence.",
        "- A `decision_id` from outside is a name of the other system, also where a decision of Keepwell's"
        " has the same: the two are not joined. To report on a decision of Keepwell's, use"
        " `POST /v1/decisions/{decision_id}/outcomes`.",
        '- The timeline says "recommended elsewhere" of such an `action.decided`.',
        "- It counts wherever what was done with an account counts: cool-downs, limits, features, reports."
        " A snooze of another system holds.",
        "",
        "`alert.raised` and `alert.closed` are always those of other systems: Keepwell's own warning signs"
        " are computed when they are asked for.",
        "",
        "## Kinds",
        "",
        "| kind | means | quantity | at most | properties |",
        "|---|---|---|---|---|",
    ]
    for kind in KINDS:
        names = (f"**{name}**" if name in kind.needed else name for name in kind.properties)
        most = f"{kind.largest:,.0f}" if kind.quantity else ""
        words = " | ".join(map(cell, (kind.description, kind.quantity, most, ", ".join(names))))
        lines.append(f"| `{kind.name}` | {words} |")
    return "\n".join([*lines, ""])


def expressions() -> str:
    """The language in which a mapping computes columns and chooses rows."""
    lines = [
        "# Expressions of a mapping",
        "",
        "`[tables.X.computed]` makes columns of the columns of a table, and `where` says which of its rows"
        " are read. Both are written in a small language that can compute and compare, and nothing else: no"
        " program, no file, no search by pattern"
        " ([why](../decisions/features-lake.md#a-mapping-computes-in-a-language-of-its-own)).",
        "",
        MADE_BY,
        "",
        "```toml",
        "where = \"status = 'paid' and amount > 0\"",
        "[tables.subscriptions.computed]",
        'mrr = "unit_price * seats / 12"',
        "account = \"concat('eu-', customer_id)\"",
        "plan = \"if(seats >= 100, 'large', 'small')\"",
        "```",
        "",
        "| part | is written |",
        "|---|---|",
        "| a column | `amount`, or `[Amount in EUR]` where its name is no plain word |",
        "| a text | `'paid'`; a quotation mark in it is written twice |",
        "| a number | `12`, `0.5` |",
        "| signs | `+ - * /`, `= != < <= > >=`, `and or not`, `in ('a', 'b')`, `is empty`, `is not empty` |",
        "| a choice | `if(condition, then, else)`, and `known(a, b)`: the first that is not empty |",
        *(f"| `{name}` | {cell(function.about)} |" for name, function in FUNCTIONS.items()),
        "",
        "- A column is read as what is needed: `amount > 10` as a number, `status = 'paid'` as text. Two"
        " columns are compared as texts; write `number(a) > b` for numbers. A day is compared with"
        " `date(day) >= '2024-01-31'`.",
        "- A cell that is no number where one is needed refuses its row, and `number(a)` is unknown there."
        " What is computed of an empty cell is empty; a row for which `where` is neither true nor false is"
        " left out.",
        "- Times are those of the table's `zone`, read as its `time_format` says, else as ISO 8601.",
        "- A computed column may have the name of a column of the file, and then stands in its place. It"
        " reads columns of the file only, no other computed ones.",
        f"- An expression has at most {LONGEST:,} characters, {MOST_PARTS} parts and {DEEPEST} parts inside"
        f" each other; a table computes at most {MOST_COMPUTED} columns.",
    ]
    return "\n".join(lines)


PAGES: Mapping[str, Callable[[], str]] = {
    "events.md": events,
    "expressions.md": expressions,
    "routes.md": routes,
    "problems.md": problems,
    "commands.md": commands,
    "workspace.md": workspace,
    "actions.md": actions,
    "health-formulas.md": health_formulas,
    "features.md": feature_catalogue.page,
    "warning-signs.md": warning_signs.page,
    "source-signals.md": source_signals.page,
    "damage.md": damage_table.page,
}


def page(name: str) -> str:
    """The whole text of a page."""
    return f"<!-- kind: reference -->\n{PAGES[name]()}".rstrip() + "\n"


def inventory() -> str:
    """The folders of the packages with what they hold, from their own first lines."""
    lines = ["| folder | holds |", "|---|---|"]
    root = FOLDER.parents[1]
    for package in ("features", "registry", "training", "experiments", "serving"):
        for file in sorted((root / package).rglob("__init__.py")):
            folder = file.parent.relative_to(root).as_posix()
            if folder != package:
                text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
                lines.append(f"| `{folder}` | {cell(text.splitlines()[0])} |")
    return "\n".join(lines)


def architecture() -> str:
    """``ARCHITECTURE.md`` with the inventory of today."""
    text = (FOLDER.parents[1] / "ARCHITECTURE.md").read_text(encoding="utf-8")
    return INVENTORY.sub(lambda _: f"<!-- inventory -->\n{inventory()}\n<!-- /inventory -->", text)


INVENTORY = re.compile(r"<!-- inventory -->.*?<!-- /inventory -->", flags=re.DOTALL)


def plain(text: str) -> str:
    """A docstring as Markdown: one paragraph a line, literals in single backticks."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text).replace("``", "`"))
    return "\n\n".join(" ".join(one.split()) for one in paragraphs).replace("\\[", "[")


def first_line(thing: Callable[..., object]) -> str:
    """The first line of a docstring."""
    return plain((inspect.getdoc(thing) or "").splitlines()[0])


def docstring_sentences(thing: type) -> str:
    """A class's docstring as prose."""
    return plain(inspect.getdoc(thing) or "")


def cell(text: str) -> str:
    """A text that fits into a cell of a table."""
    return plain(text).replace("\n\n", " ").replace("|", "\\|")


if __name__ == "__main__":
    for written in PAGES:
        (FOLDER / written).write_text(page(written), encoding="utf-8")
    (FOLDER.parents[1] / "ARCHITECTURE.md").write_text(architecture(), encoding="utf-8")
