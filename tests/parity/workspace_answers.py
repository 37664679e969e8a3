"""Every answer of a workspace in one file, and what differs between two such files.

A change of the code that promises to change no answer is held to it like this::

    python tests/parity/workspace_answers.py WORKSPACE --out before.json     # in the tree of before
    python tests/parity/workspace_answers.py WORKSPACE --out after.json      # in the tree of after
    python tests/parity/workspace_answers.py --compare before.json after.json

The workspace is copied first and the copy is asked, so it stays as it is. It is asked as people and
programs ask: by the commands of ``keepwell`` and by requests to the application of ``keepwell
serve``. Besides the module ``keepwell`` nothing of the project is imported, so the same file runs
in every tree: ``PYTHONPATH=TREE python workspace_answers.py …``.

Two numbers agree up to one part in 10^9. The clock of the service stands still meanwhile, since
quiet hours and put-offs go by it. Left out is what may differ all the same (``VOLATILE``), how long
a command took, and where the copy lies.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import gc
import gzip
import hashlib
import json
import math
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
from starlette.testclient import TestClient

Answers = dict[str, dict[str, Any]]
"""By kind (``score``, ``timeline``), then by what was asked about (an account, an address)."""

API_KEY = "a-key-that-only-the-comparison-knows"
LOTTERY_KEY = "0f" * 32
"""Of the draws, where the environment names none."""

TOLERANCE = 1e-9

CLOCK = datetime(2026, 11, 23, 12, tzinfo=UTC)
"""Where the clock of the service stands while it is asked, if nothing else is said."""

VOLATILE = {
    "decision_id": "a new decision is named by its whole question, the digest of the code with it",
}
"""Fields that are left out of a comparison, and why. What was stored before is asked by its id."""

HORIZONS = (30, 60, 90, 180, 365)
TEAM = """[[csm]]
id = "csm-1"
hours = 30
[[pool]]
id = "all"
hours = 60
skills = ["csm", "sales", "support", "billing"]
"""
MOST_REPLAYED = 20
"""Of the new decisions; of those that were stored before all."""

PAGES = ("/", "/?status=all", "/approvals", "/models", "/reports", "/problems", "/docs")
REFUSED = (
    ("GET", "/v1/accounts/nobody-of-this-name", None),
    ("GET", "/v1/nothing", None),
    ("GET", "/v1/accounts?limit=0", None),
    ("POST", "/v1/scores", {"account_ids": []}),
    ("POST", "/v1/next-actions", {"accounts": 3}),
    ("GET", "/v1/decisions/no-such-decision", None),
)


class NoAnswerError(Exception):
    """A workspace did not answer."""


# --- asking ---------------------------------------------------------------------------------------

PARTS: Mapping[str, str] = {
    "accounts": "scores, reasons, outlooks, timelines",
    "holdings": "playbook, models, reports, controls, addresses, refusals",
    "decisions": "what became of the decisions that are stored",
    "pages": "the words of every page",
    "actions": "next actions, a plan, and decisions asked again",
    "commands": "what commands print",
    "files": "what commands write",
    "features": "the online features as plain Feast reads them",
    "slow": "what is measured anew: effects, reports, monitoring, leaks, a backtest",
}
QUICK = tuple(part for part in PARTS if part != "slow")


def answers_of(
    workspace: Path, *, parts: Iterable[str] = QUICK, clock: datetime = CLOCK
) -> Answers:
    """Every answer of a copy of a workspace.

    Args:
        workspace: its folder, which is left as it is.
        parts: which answers; all but the slow ones by default.
        clock: what the clock of the service shows all the while.
    """
    wanted = {"accounts", *parts}  # which accounts there are is needed for all others
    with tempfile.TemporaryDirectory() as folder, asked_alone(), standing(clock):
        copy, other = Path(folder) / "workspace", Path(folder) / "another"
        for one in (copy, other):
            shutil.copytree(workspace, one)
        found: Answers = defaultdict(dict)
        before = decisions_in(copy)
        with served(copy) as client:
            ask_about_accounts(client, found)
            if wanted & {"holdings", "pages"}:
                ask_about_what_there_is(client, found)
            if "decisions" in wanted:
                ask_about_decisions(client, found, before)
            if "pages" in wanted:
                ask_for_pages(client, found)
            if "actions" in wanted:
                ask_for_actions(client, found)
            if "features" in wanted:
                ask_feast(copy, found)  # the service has named today's modules to Feast
        if "actions" in wanted:
            ask_for_replays(copy, found, before)
        for part, ask in (
            ("commands", ask_by_command),
            ("files", ask_for_files),
            ("slow", ask_slowly),
        ):
            if part in wanted:
                ask(other, found)  # where nothing was stored
        return json.loads(json.dumps(found).replace(folder, "FOLDER"))  # type: ignore[no-any-return]


@contextlib.contextmanager
def asked_alone() -> Iterator[None]:
    """An environment in which only the workspace says what is so; put back afterwards."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KEEPWELL_")}
    lottery = os.environ.get("KEEPWELL_LOTTERY_KEY", LOTTERY_KEY)
    switch = sys.getswitchinterval()
    with (
        patch.dict(
            os.environ,
            kept
            | {
                "KEEPWELL_API_KEY": API_KEY,
                "KEEPWELL_LOTTERY_KEY": lottery,
                "COLUMNS": "160",
                "NO_COLOR": "1",
            },
            clear=True,
        ),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            sys.setswitchinterval(switch)
            gc.unfreeze()


@contextlib.contextmanager
def standing(clock: datetime) -> Iterator[None]:
    """Let the clock that the commands look at stand still."""
    import keepwell

    command_line()  # it looks up what its options are by the name `datetime`, too

    class Standing(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return clock.astimezone(tz)

    functions = [
        *keepwell.COMMANDS.values(),
        *(each for _, some in keepwell.GROUPS.values() for each in some.values()),
    ]
    modules = {id(function.__globals__): function.__globals__ for function in functions}
    with contextlib.suppress(ImportError):  # an earlier version has no options that know the time
        from features.cli import options

        modules[id(vars(options))] = vars(options)
    with contextlib.ExitStack() as stack:
        for names in modules.values():
            if names.get("datetime") is datetime:
                stack.enter_context(patch.dict(names, {"datetime": Standing}))
        yield


@contextlib.contextmanager
def served(workspace: Path) -> Iterator[TestClient]:
    """A client of the application that ``keepwell serve`` makes, without a socket."""
    import keepwell

    made: list[Any] = []

    def serve(app: Any, bound: Any = None, *_: object, **__: object) -> None:
        made.append(app)
        if bound is not None:
            bound.close()

    with contextlib.ExitStack() as stack:
        stack.enter_context(patch("uvicorn.run", serve))
        with contextlib.suppress(ImportError):  # an earlier version has no server of its own
            stack.enter_context(patch("serving.http.server.running.serve_until_signal", serve))
        keepwell.COMMANDS["serve"](workspace=workspace, port=0)
    client = TestClient(made[0], base_url="http://127.0.0.1:8000", headers={"x-api-key": API_KEY})
    made[0].state.service.refresh()  # `keepwell serve` scores after it has begun to answer
    yield client  # not started yet: what it does by itself every few seconds would come in between
    with client:
        pass  # started and stopped, so that it lets go of its files


@cache
def command_line() -> Any:
    """The command ``keepwell``."""
    from typer.main import get_command

    import keepwell

    return get_command(keepwell.app)


def command(*words: str | Path) -> tuple[int, str]:
    """What a command prints, and its exit code."""
    from click.testing import CliRunner

    result = CliRunner().invoke(command_line(), [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return 3, f"{type(result.exception).__name__}: {result.exception}"
    return result.exit_code, result.output


def get(client: TestClient, address: str) -> Any:
    """The JSON at an address, which has to be there."""
    return checked(client.get(address))


def checked(answer: Any) -> Any:
    """The JSON of an answer that is no refusal."""
    if not answer.is_success:
        raise NoAnswerError(f"{answer.url} answered {answer.status_code}: {answer.text[:500]}")
    return answer.json()


def ask_about_accounts(client: TestClient, found: Answers) -> None:
    """Scores, reasons, outlooks and timelines of all accounts."""
    cursor, total = "", None
    while cursor is not None:
        page = get(client, f"/v1/accounts?limit=500{cursor}")
        total = total or {name: value for name, value in page.items() if name != "items"}
        for place, row in enumerate(page["items"], start=len(found["portfolio row"])):
            found["portfolio row"][row["account_id"]] = {"place": place, **row}
        cursor = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
    found["portfolio"]["all"] = {
        name: value for name, value in (total or {}).items() if name != "next_cursor"
    }
    accounts = list(found["portfolio row"])
    for account in accounts:
        found["account"][account] = get(client, f"/v1/accounts/{account}")
        found["timeline"][account] = get(client, f"/v1/accounts/{account}/timeline?limit=100")
    for horizon in HORIZONS:
        for some in in_portions(accounts, 500):
            answer = client.post("/v1/scores", json={"account_ids": some, "horizon_days": horizon})
            if answer.status_code == 422:  # a horizon that the models do not serve
                found["refusal"][f"score in {horizon} days"] = answer.json()
                break
            for row in checked(answer)["items"]:
                found["score"][f"{row['account_id']} in {horizon} days"] = row


def ask_about_what_there_is(client: TestClient, found: Answers) -> None:
    """Playbook, models, reports, controls, the API itself, refusals, and names of figures."""
    for kind, address in (
        ("playbook", "/v1/actions"),
        ("models", "/v1/models"),
        ("reports", "/v1/reports"),
        ("controls", "/v1/controls"),
        ("ready", "/readyz"),
    ):
        found[kind]["all"] = get(client, address)
    for report in found["reports"]["all"]["items"]:
        found["report"][report["name"]] = get(client, report["json_url"])
    found["openapi"] = get(client, "/openapi.json")["paths"]
    for method, address, body in REFUSED:
        answer = client.request(method, address, json=body)
        found["refusal"][f"{method} {address}"] = {"status": answer.status_code, **answer.json()}
    found["figures"]["names"] = sorted(
        {
            re.split(r"[ {]", line)[0]
            for line in client.get("/metrics").text.splitlines()
            if line.startswith("keepwell")
        }
    )


def ask_about_decisions(client: TestClient, found: Answers, decisions: Iterable[str]) -> None:
    """What was stored of decisions before: what became of each, and what people said."""
    for one in decisions:
        found["stored decision"][one] = get(client, f"/v1/decisions/{one}")
        found["stored feedback"][one] = get(client, f"/v1/decisions/{one}/feedback")


def ask_for_pages(client: TestClient, found: Answers) -> None:
    """The words of every page, and the shapes of its pictures."""
    accounts = [f"/accounts/{account}" for account in found["account"]]
    cards = [one["card"] for one in found["models"]["all"]["items"] if one["card"]]
    reports = [one["html"] for one in found["reports"]["all"]["items"] if one["html"]]
    for address in (*PAGES, *cards, *reports, *accounts):
        answer = client.get(address)
        page = Words(answer.text)
        kind = address.split("?")[0].split("/")[1] or "portfolio"
        found[f"page {kind}"][address] = {"status": answer.status_code, "words": page.words}
        found[f"page {kind}: pictures"][address] = page.shapes
        for picture in page.pictures:
            if picture.startswith("/models/"):
                found["model plot"][picture] = hashlib.sha256(
                    client.get(picture).content
                ).hexdigest()


def ask_for_actions(client: TestClient, found: Answers) -> None:
    """Next actions of all accounts, stored as decisions of the copy; and a plan of a week."""
    accounts = list(found["portfolio row"])
    for some in in_portions(accounts, 500):
        answer = checked(
            client.post(
                "/v1/next-actions",
                json={"account_ids": some, "limit": 1000, "actions_per_account": 50},
            )
        )
        for row in answer["items"]:
            found["next actions"][row["account_id"]] = row
    csms = sorted({row["csm"] for row in found["portfolio row"].values() if row.get("csm")})[:20]
    found["plan"]["of the API"] = checked(
        client.post(
            "/v1/plans",
            json={
                "csms": [{"id": one, "hours": 10} for one in csms],
                "pools": [
                    {"id": "all", "hours": 60, "skills": ["csm", "sales", "support", "billing"]}
                ],
            },
        )
    )


def ask_for_replays(workspace: Path, found: Answers, decisions: Sequence[str]) -> None:
    """Every decision that was stored before asked again, and some of the new ones."""
    asked = {one: one for one in decisions}
    for account, row in list(found["next actions"].items())[:MOST_REPLAYED]:
        asked.setdefault(row["decision_id"], f"of {account}, new")
    for one, name in asked.items():
        code, text = command("ledger", "replay", one, "--workspace", workspace)
        found["replay"][name] = printed((code, text.replace(one, "DECISION")))
    found["command"]["ledger verify"] = printed(command("ledger", "verify", "-w", workspace))


def ask_by_command(workspace: Path, found: Answers) -> None:
    """What the commands that only look print."""
    here = ("--workspace", workspace)
    for words in (
        ("features",),
        ("models", "list"),
        ("models", "history", "churn"),
        ("models", "show", "churn"),
        ("models", "show", "expansion"),
        ("models", "shadow", "churn"),
        ("keys", "list"),
        ("webhooks", "list"),
    ):
        found["command"][" ".join(words)] = printed(command(*words, *here))
    code, text = command("features", "--json", *here)
    found["feature"] = {row["name"]: row for row in json.loads(text)} if code == 0 else {}


def ask_for_files(workspace: Path, found: Answers) -> None:
    """Scores, next actions, a plan and what was said, as commands write them to files."""
    here, folder = ("--workspace", workspace), workspace.parent
    files = {
        name: folder / name
        for name in ("scores.parquet", "actions.json", "plan.json", "feedback.json", "team.toml")
    }
    files["team.toml"].write_text(TEAM, encoding="utf-8")
    for words in (
        ("score", "--out", files["scores.parquet"]),
        ("actions", "--out", files["actions.json"]),
        ("plan", files["team.toml"], "--out", files["plan.json"]),
        ("feedback", "--by-action", "--out", files["feedback.json"]),
    ):
        found["command"][str(words[0])] = printed(command(*words, *here))
    if files["scores.parquet"].exists():
        rows = json.loads(pl.read_parquet(files["scores.parquet"]).write_json())
        found["row of the file of scores"] = {row["account_id"]: row for row in rows}
    if files["actions.json"].exists():
        rows = json.loads(files["actions.json"].read_text(encoding="utf-8"))
        found["entry of the file of actions"] = {
            row["account_id"]: row for row in rows.pop("accounts")
        }
        found["file of actions"]["rest"] = rows
    for name in ("plan.json", "feedback.json"):
        if files[name].exists():
            found["file"][name] = json.loads(files[name].read_text(encoding="utf-8"))


def ask_feast(workspace: Path, found: Answers) -> None:
    """The features of all accounts that plain Feast reads from the online store."""
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(workspace / "feast"))
    names = [
        f"{view.name}:{field.name}"
        for view in store.list_feature_views()
        for field in view.features
    ]
    rows = [{"account_id": account} for account in found["portfolio row"]]
    read = store.get_online_features(features=sorted(names), entity_rows=rows).to_dict()
    for place, account in enumerate(read.pop("account_id")):
        found["online features"][account] = {name: read[name][place] for name in sorted(read)}


def ask_slowly(workspace: Path, found: Answers) -> None:
    """What is measured anew: minutes on a large workspace."""
    here = ("--workspace", workspace)
    backtest = workspace.parent / "backtest.json"
    for words in (
        ("effects",),
        ("report",),
        ("monitor",),
        ("audit",),
        ("backtest", "--origins", "2", "--out", str(backtest)),
    ):
        found["slow command"][words[0]] = printed(command(*words, *here))
    for file in (
        *sorted((workspace / "reports").glob("*.json")),
        *sorted((workspace / "monitoring").rglob("*.json")),
        backtest,
    ):
        if file.exists():
            found["file measured anew"][file.name] = json.loads(file.read_text(encoding="utf-8"))


def printed(result: tuple[int, str]) -> dict[str, Any]:
    """What a command printed, without how long it took and the ledger's digest of all it holds."""
    code, text = result
    text = re.sub(r"\(\d[\d.,]* s\)|^head [0-9a-f]{64}$", "", text, flags=re.MULTILINE)
    return {"code": code, "words": [line.rstrip() for line in text.splitlines()]}


def decisions_in(workspace: Path) -> list[str]:
    """The ids of the decisions that a workspace holds, in the order in which they were stored."""
    file = workspace / "ledger.db"
    if not file.exists():
        return []
    with contextlib.closing(sqlite3.connect(file)) as ledger:
        rows = ledger.execute("SELECT decision_id FROM decisions ORDER BY rowid")
        return [decision_id for (decision_id,) in rows]


def in_portions(items: Sequence[str], size: int) -> Iterator[list[str]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


class Words(HTMLParser):
    """The words of a page in their order, the shapes of its drawings, the addresses of pictures."""

    SAID = ("title", "aria-label", "placeholder", "value", "href", "action")
    DRAWN = ("circle", "ellipse", "line", "path", "polygon", "polyline", "rect")
    SILENT = ("script", "style")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.shapes: list[str] = []
        self.pictures: list[str] = []
        self._silent = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what an element says or draws."""
        self._silent += tag in self.SILENT
        given = {name: value or "" for name, value in attrs}
        if tag in self.DRAWN:
            self.shapes.append(
                " ".join(
                    [
                        tag,
                        *(
                            f"{name}={given[name]}"
                            for name in sorted(given)
                            if re.search(r"\d", given[name])
                        ),
                    ]
                )
            )
        elif tag == "img":
            self.pictures.append(given.get("src", ""))
        elif tag != "link":  # the address of the style sheet changes with its content
            self.words += [f"[{name}] {given[name]}" for name in self.SAID if given.get(name)]

    def handle_endtag(self, tag: str) -> None:
        """Listen again after a script."""
        self._silent -= tag in self.SILENT

    def handle_data(self, data: str) -> None:
        """Keep what is read."""
        if not self._silent and data.strip():
            self.words.append(" ".join(data.split()))


# --- comparing ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One place at which two sets of answers differ."""

    kind: str
    asked: str
    field: str
    before: object
    after: object


def rounded(value: Any, digits: int) -> Any:
    """The same with every number of so many significant digits.

    >>> rounded({"a": [1 / 3, 12345.678, 7, None]}, 4)
    {'a': [0.3333, 12350.0, 7, None]}
    """
    match value:
        case dict():
            return {name: rounded(one, digits) for name, one in value.items()}
        case list():
            return [rounded(one, digits) for one in value]
        case float():
            return float(f"{value:.{digits}g}")
        case _:
            return value


def differences(
    before: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Mapping[str, Any]],
    *,
    tolerance: float = TOLERANCE,
) -> list[Difference]:
    """Every place at which two sets of answers differ, numbers by more than a share of them."""
    found = []
    for kind in sorted({*before, *after}):
        then, now = before.get(kind, {}), after.get(kind, {})
        for asked in [*then, *(one for one in now if one not in then)]:
            if asked not in then or asked not in now:
                found.append(
                    Difference(
                        kind=kind,
                        asked=asked,
                        field="",
                        before=then.get(asked),
                        after=now.get(asked),
                    )
                )
                continue
            found += [
                Difference(kind=kind, asked=asked, field=field, before=one, after=other)
                for field, one, other in unequal("", then[asked], now[asked], tolerance)
            ]
    return found


ABSENT = "(absent)"


def unequal(
    field: str, one: Any, other: Any, tolerance: float
) -> Iterator[tuple[str, object, object]]:
    """The places within two answers at which they differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in [*one, *(name for name in other if name not in one)]:
            if name not in VOLATILE:
                yield from unequal(
                    f"{field}.{name}", one.get(name, ABSENT), other.get(name, ABSENT), tolerance
                )
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) == len(other):
            for left, right in zip(one, other, strict=True):
                yield from unequal(f"{field}[]", left, right, tolerance)
        else:
            left, right = (
                [json.dumps(item, sort_keys=True) for item in items] for items in (one, other)
            )
            for line in difflib.unified_diff(left, right, n=0, lineterm=""):
                if line[0] in "+-" and not line.startswith(("+++", "---")):
                    yield (
                        f"{field}[]",
                        *((line[1:], ABSENT) if line[0] == "-" else (ABSENT, line[1:])),
                    )
    elif not same(one, other, tolerance):
        yield field, one, other


def same(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two values are the same; numbers up to a share of them."""
    if type(one) is bool or type(other) is bool:
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=1e-12) or (
            math.isnan(one) and math.isnan(other)
        )
    return type(one) is type(other) and one == other


def report_of(found: Sequence[Difference], *, examples: int = 3) -> str:
    """Differences by kind and field, the most frequent first, each with examples."""
    if not found:
        return "No difference."
    groups: dict[tuple[str, str], list[Difference]] = defaultdict(list)
    for one in found:
        groups[one.kind, one.field].append(one)
    counts = Counter(one.kind for one in found)
    lines = [f"{len(found):,} differences."]
    for kind, number in counts.most_common():
        lines.append(f"\n{kind}: {number:,}")
        for (_, field), group in sorted(
            ((key, group) for key, group in groups.items() if key[0] == kind),
            key=lambda pair: -len(pair[1]),
        ):
            lines.append(f"  {field or '(whole)'}: {len(group):,}")
            lines += [
                f"    {one.asked}: {shortened(one.before)} → {shortened(one.after)}"
                for one in group[:examples]
            ]
    return "\n".join(lines)


def shortened(value: object) -> str:
    """A value as one short line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:157]}…"


def read(file: Path) -> Answers:
    """Answers that were written before."""
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return json.loads(content)  # type: ignore[no-any-return]


def write(answers: Answers, file: Path) -> None:
    """Write answers, the same ones always as the same bytes; compressed where the name says so."""
    content = json.dumps(answers, ensure_ascii=False).encode()
    file.write_bytes(gzip.compress(content, mtime=0) if file.suffix == ".gz" else content)


def main() -> int:
    """Ask, or compare; 1 where something differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("workspace", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, help="the file to write")
    parser.add_argument(
        "--clock",
        type=datetime.fromisoformat,
        default=CLOCK,
        help="where the clock of the service stands",
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=QUICK,
        help="; ".join(f"{part}: {words}" for part, words in PARTS.items()),
    )
    parser.add_argument("--digits", type=int, help="round numbers to so many digits")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"))
    parser.add_argument("--examples", type=int, default=3, help="of each group of differences")
    given = parser.parse_args()
    if given.compare:
        found = differences(*map(read, given.compare))
        sys.stdout.write(report_of(found, examples=given.examples) + "\n")
        return 1 if found else 0
    if given.workspace is None or given.out is None:
        parser.error("name a workspace and --out FILE, or --compare BEFORE AFTER")
    answers = answers_of(given.workspace, parts=given.parts, clock=given.clock)
    if given.digits:
        answers = rounded(answers, given.digits)
    write(answers, given.out)
    number = sum(map(len, answers.values()))
    sys.stdout.write(f"{number:,} answers of {len(answers)} kinds in {given.out}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
