"""Every figure that a workspace states, wherever it stands, and where two places disagree.

Pages name their figures themselves (``data-figure="name:of"``, ``serving/pages/views/figures.py``); a
field of the API and a column of the scores file has its own name. What is stated under one name is
one figure: a text agrees with a number where it is that number rounded.

A revenue, a risk and a chance are those of running contracts alone, so that the sums over all
accounts and over running ones are one figure too (``OF_RUNNING``).
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
from starlette.testclient import TestClient

TIERS = ("low", "medium", "high", "critical")
OF_RUNNING = frozenset(
    {
        *(f"accounts_{tier}" for tier in (*TIERS, "high_or_critical")),
        *("revenue_at_risk", "revenue_at_risk_low", "revenue_at_risk_high", "yearly_revenue"),
        *("expected_expansion", "expected_expansion_low", "expected_expansion_high"),
    }
)
"""Sums to which only running contracts contribute."""

UNKNOWN = frozenset({"not known", "risk not known", "not scored", "not enough data", "\N{EN DASH}"})
UNDER = "under "
DAY = re.compile(r"(\d{1,2} [A-Z][a-z]+ \d{4})\b")
NUMBER = re.compile(r"(?P<sign>[-\N{MINUS SIGN}])?(?P<whole>\d[\d,]*)(?P<part>\.\d+)?(?P<unit>%)?")
HTML = {"Accept": "text/html"}

Value = float | str | None


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A figure as it stands in one place; ``within`` is how far the rounding may move it."""

    name: str
    of: str
    value: Value
    place: str
    within: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """Two places that state one figure differently."""

    one: Stated
    other: Stated

    def __str__(self) -> str:
        one, other = self.one, self.other
        return f"{one.name} of {one.of}: {one.value} ({one.place}), {other.value} ({other.place})"


def read_text(text: str) -> tuple[Value, float]:
    """What a text says, and by how much it may be rounded.

    >>> read_text("12,340 USD"), read_text("high risk")
    ((12340.0, 0.5), ('high', 0.0))
    >>> [round(number, 6) for number in read_text("6.3%")]
    [0.063, 0.0005]
    >>> [round(number, 6) for number in read_text("under 0.01%")]
    [5e-05, 5e-05]
    """
    text = " ".join(text.split())
    if text in UNKNOWN:
        return None, 0.0
    if found := DAY.match(text):
        return f"{datetime.strptime(found[1], '%d %B %Y'):%Y-%m-%d}", 0.0  # noqa: DTZ007
    if text.startswith(UNDER):
        most, _ = read_text(text.removeprefix(UNDER))
        assert isinstance(most, float)
        return most / 2, most / 2
    if found := NUMBER.match(text):
        digits = len(found["part"] or ".") - 1
        scale = 0.01 if found["unit"] else 1.0
        number = float(found["whole"].replace(",", "") + (found["part"] or ""))
        return scale * (-number if found["sign"] else number), scale * 0.5 * 10**-digits
    tier = text.removesuffix(", next 90 days").removesuffix(" risk")
    return (tier if tier in TIERS else text), 0.0


class _Named(HTMLParser):
    """The texts of the elements that carry a name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._open: list[tuple[str | None, list[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self._open.append((dict(attrs).get("data-figure"), []))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID or not self._open:
            return
        name, texts = self._open.pop()
        if name is not None:
            self.found.append((name, "".join(texts)))

    def handle_data(self, data: str) -> None:
        for _, texts in self._open:
            texts.append(data)


VOID = frozenset({"meta", "link", "input", "br", "img", "hr", "path", "rect", "line", "circle"})


def figures_of_page(page: str, place: str) -> Iterator[Stated]:
    """The figures that a page names."""
    for named, text in _Named(page).found:
        name, _, of = named.partition(":")
        value, within = read_text(text)
        if name in OF_RUNNING and of in ("accounts all", "accounts running"):
            of = "accounts"
        yield Stated(name=name, of=of, value=value, place=place, within=within)


def figures_of_account(answer: Mapping[str, Any], place: str) -> Iterator[Stated]:
    """The figures of an account's answer of the API."""
    of = answer["account_id"]

    def state(name: str, value: Value) -> Stated:
        return Stated(name=name, of=of, value=value, place=place)

    for outcome, curve in (
        ("churn", answer["churn"]),
        ("expansion", answer["expansion_by_horizon"]),
    ):
        for at in curve:
            name = f"{outcome}_probability_{at['horizon_days']}d"
            yield state(name, at["probability"])
            yield state(f"{name}_low", at["low"])
            yield state(f"{name}_high", at["high"])
            if outcome == "churn" and at["horizon_days"] == 90:
                yield state("churn_base_rate_90d", at["base_rate"])
            if outcome == "expansion" and at["horizon_days"] == 90:
                yield state("expansion_base_rate_90d", at["base_rate"])
    for outcome, why in (
        ("churn", answer["reasons"]),
        ("expansion", answer["expansion_reasons"]),
    ):
        if why is not None and why["start"] is not None:
            reasons = [*why["signals"], *why["levers"], *why["context"]]
            total = why["start"] + (why["rest"] or 0.0) + sum(one["points"] for one in reasons)
            yield state(f"{outcome}_start_90d", why["start"] / 100)
            yield Stated(
                name=f"{outcome}_probability_90d",
                of=of,
                value=total / 100,
                place="the sum of its reasons",
                within=1e-9,
            )
    for name in ("risk_tier", "mrr", "revenue_at_risk", "expected_expansion"):
        yield state(name, answer[name])
    mrr = answer["mrr"]
    yield state("yearly_revenue", None if mrr is None else 12 * mrr)
    yield state("health_score", answer["health"]["score"])
    yield state("health_level", answer["health"]["level"])


def figures_of_rows(rows: Iterable[Mapping[str, Any]], place: str, level: str) -> Iterator[Stated]:
    """The figures of the rows of a list or of the scores file, and the sums over them."""
    tiers = Counter[str]()
    amounts: dict[str, list[float]] = {}  # what is known of no row has no sum
    for row in rows:
        of = row["account_id"]
        for name in (
            *("churn_probability_30d", "churn_probability_60d", "churn_probability_90d"),
            *("churn_probability_90d_low", "churn_probability_90d_high"),
            *("expansion_probability_90d", "risk_tier", "mrr", "revenue_at_risk"),
            *("expected_expansion", "health_score"),
        ):
            if name in row:
                yield Stated(name=name, of=of, value=row[name], place=place)
        yield Stated(name="health_level", of=of, value=row[level], place=place)
        if row.get("score_source", row.get("source")) == "model":
            yield Stated(name="model_version", of="churn", value=row["model_version"], place=place)
            day = f"{row['as_of']:%Y-%m-%d}" if "score_source" in row else row["as_of"][:10]
            yield Stated(name="as_of", of="accounts", value=day, place=place)
        tiers[row["risk_tier"] or "unknown"] += 1
        monthly = row["mrr"]
        for name, value in (
            ("revenue_at_risk", row["revenue_at_risk"]),
            ("expected_expansion", row["expected_expansion"]),
            ("yearly_revenue", None if monthly is None else 12 * monthly),
        ):
            amounts.setdefault(name, []).extend([] if value is None else [value])
    for tier in TIERS:
        yield Stated(name=f"accounts_{tier}", of="accounts", value=tiers[tier], place=place)
    urgent = tiers["high"] + tiers["critical"]
    yield Stated(name="accounts_high_or_critical", of="accounts", value=urgent, place=place)
    sums = {name: sum(known) if known else None for name, known in amounts.items()}
    for name, value in sums.items():
        yield Stated(name=name, of="accounts", value=value, place=place)


def figures_of_models(answer: Mapping[str, Any], place: str) -> Iterator[Stated]:
    """The metrics of each version of a model."""
    for row in answer["items"]:
        of = f"{row['label']} {row['version']}"
        for name, value in row["metrics"].items():
            yield Stated(name=name, of=of, value=value, place=place)


def figures_of_actions(answer: Mapping[str, Any], place: str) -> Iterator[Stated]:
    """The figures of an account's next actions, from the API or from the file of actions."""
    for name in ("churn_probability_90d", "revenue_at_risk", "health_score"):
        if name in answer:
            yield Stated(name=name, of=answer["account_id"], value=answer[name], place=place)
    if again := answer["look_again_on"]:
        of = answer["account_id"]
        yield Stated(name="look_again_on", of=of, value=again[:10], place=place)
    for one in answer["ranked"]:
        of = f"{one.get('action') or one['action_id']} for {answer['account_id']}"
        yield Stated(name="cautious_value", of=of, value=one["cautious_value"], place=place)


def evidence_of_page(page: str, place: str) -> Iterator[Stated]:
    """Whether each ranked action says of its effect that it was measured, or that it was not."""
    for action, text in re.findall(
        r'data-figure="cautious_value:(\S+) for [^"]*">(.*?)</li>', page, flags=re.DOTALL
    ):
        if "<summary>Where" in text:
            said = "no" if "not measured yet" in text else "yes"
            yield Stated(name="effect_is_measured", of=action, value=said, place=place)


def figures_of_report(report: Mapping[str, Any], place: str) -> Iterator[Stated]:
    """The effects on leaving that a report states; of a lottery, those of ``effects.json`` too."""
    for action in report["actions"]:
        if action["verdict"] != "unknown":
            yield Stated(name="effect_is_measured", of=action["action"], value="yes", place=place)
        for result in action["results"]:
            found = result["churn"]["estimate"]
            of = f"{action['action']} by {result['design']['mechanism']}"
            for end in ("estimate", "low", "high"):
                yield Stated(name=f"effect_on_leaving_{end}", of=of, value=found[end], place=place)
            for item in report.get("counted", {}).get(result["design"]["design_id"], ()):
                for end in ("estimate", "low", "high"):
                    name, within = f"effect_on_leaving_{end}", f"{of} in {item['segment']}"
                    yield Stated(name=name, of=within, value=item[end], place=place)
            net = result["money"]["net"]
            if net is not None:
                apart = net["low"] > 0 or net["high"] < 0
                yield Stated(name="net_differs_from_0", of=of, value=str(apart), place=place)
                said = str(net["p_value"] < 0.05)
                yield Stated(name="net_differs_from_0", of=of, value=said, place=f"{place} p")


def figures_of_effects(effects: Mapping[str, Any], place: str) -> Iterator[Stated]:
    """The measured effects on staying, as the change in leaving that a report states."""
    for one in effects["effects"]:
        if one["outcome"] != "retention":
            continue
        mechanism = "lottery" if one["source"].startswith("the lottery") else "judgement"
        of = f"{one['action_id']} by {mechanism}"
        if one["segment"] is not None:
            of += f" in {one['segment']}"
        for end, value in (
            ("estimate", -one["estimate"]),
            ("low", -one["high"]),
            ("high", -one["low"]),
        ):
            yield Stated(name=f"effect_on_leaving_{end}", of=of, value=value, place=place)


def disagreements(stated: Iterable[Stated]) -> list[Disagreement]:
    """Each figure once that two places state differently."""
    found = []
    for group in by_figure(stated).values():
        exact = min(group, key=lambda one: one.within)
        other = next((one for one in group if not agree(exact, one)), None)
        if other is not None:
            found.append(Disagreement(one=exact, other=other))
    return found


def by_figure(stated: Iterable[Stated]) -> dict[tuple[str, str], list[Stated]]:
    """The places of each figure."""
    groups: dict[tuple[str, str], list[Stated]] = defaultdict(list)
    for one in stated:
        groups[one.name, one.of].append(one)
    return groups


def agree(one: Stated, other: Stated) -> bool:
    """Whether two places say the same, but for rounding.

    >>> exact = Stated(name="p", of="a", value=0.0631, place="api")
    >>> text = Stated(name="p", of="a", value=0.063, within=0.0005, place="page")
    >>> agree(exact, text), agree(exact, Stated(name="p", of="a", value=None, place="file"))
    (True, False)
    """
    if isinstance(one.value, float | int) and isinstance(other.value, float | int):
        rounding = 1e-9 * max(abs(one.value), abs(other.value))
        return abs(one.value - other.value) <= one.within + other.within + rounding + 1e-12
    return one.value == other.value


def walk(client: TestClient, folder: Path, *, files: Mapping[str, Path]) -> Iterator[Stated]:
    """Every figure that the pages, the API, the files and the reports of a workspace state.

    Args:
        client: of the service.
        folder: the workspace's reports.
        files: the scores file (``scores``) and the file of next actions (``actions``).
    """
    for status in ("running", "all"):
        address: str | None = f"/?status={status}"
        while address is not None:
            page = _page(client, address)
            yield from figures_of_page(page, f"the list ({status})")
            more = re.search(r'<p class="more"><a class="button" href="([^"]+)"', page)
            address = None if more is None else more[1].replace("&amp;", "&")
    rows = _rows(client)
    yield from figures_of_rows(rows, "GET /v1/accounts", "level")
    first = client.get("/v1/accounts?limit=1").json()
    yield Stated(
        name="revenue_at_risk", of="accounts", value=first["revenue_at_risk"], place="its sum"
    )
    ids = [row["account_id"] for row in rows]
    for account in ids:
        page = _page(client, f"/accounts/{account}")
        yield from figures_of_page(page, "the account's page")
        yield from evidence_of_page(page, "the account's page")
        answer = client.get(f"/v1/accounts/{account}").json()
        yield from figures_of_account(answer, "GET /v1/accounts/{id}")
    yield from figures_of_page(_page(client, "/models"), "the page of models")
    yield from figures_of_models(client.get("/v1/models").json(), "GET /v1/models")
    yield from _gauges(client.get("/metrics").text)
    if "scores" in files:
        frame = pl.read_parquet(files["scores"])
        yield from figures_of_rows(frame.iter_rows(named=True), "the scores file", "health_band")
    if "actions" in files:
        for one in json.loads(files["actions"].read_text(encoding="utf-8"))["accounts"]:
            yield from figures_of_actions(one, "the file of actions")
    for name, read in (("report", figures_of_report), ("effects", figures_of_effects)):
        file = folder / f"{name}.json"
        if file.exists():
            yield from read(json.loads(file.read_text(encoding="utf-8")), file.name)


def _page(client: TestClient, address: str) -> str:
    answer = client.get(address, headers=HTML)
    answer.raise_for_status()
    return answer.text


def _rows(client: TestClient) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = client.get(f"/v1/accounts?limit=500{cursor}").json()
        rows += page["items"]
        if page["next_cursor"] is None:
            return rows
        cursor = f"&cursor={page['next_cursor']}"


def _gauges(text: str) -> Iterator[Stated]:
    found = re.search(r"^keepwell_revenue_at_risk (\S+)$", text, flags=re.MULTILINE)
    if found is not None:
        yield Stated(
            name="revenue_at_risk", of="accounts", value=float(found[1]), place="GET /metrics"
        )
