"""Small exports of different shapes: each ends in a score, or in a sentence on what is missing.

As a stranger would: `keepwell init --from FOLDER --yes`, `keepwell ingest` with the mapping that it
wrote, `keepwell check` and `keepwell score`. No mapping is corrected by hand. They are too
few to train on, so a chance to leave is the prior of the first day, and says so.
"""

from __future__ import annotations

import json
import random
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import keepwell
from features.workspace import Workspace

FIRST, LAST = date(2023, 1, 1), date(2024, 6, 30)
N = 30


def customers(seed: int = 7):
    """(number, start, day it left or None, MRR) of customers, some of whom leave."""
    draw = random.Random(seed)
    for n in range(N):
        start = FIRST + timedelta(days=draw.randrange(200))
        left = start + timedelta(days=draw.randrange(60, 400)) if n % 3 == 0 else None
        yield n, start, left if left and left < LAST else None, 40 + 10 * (n % 5)


def use(people: int = 1, written="%Y-%m-%d"):
    """(number, day, person, what) of use, weekly while an account is a customer."""
    for n, start, left, _ in customers():
        day = start
        while day < (left or LAST):
            for person in range(people):
                yield n, day.strftime(written), f"p{n}-{person}", ("search", "export")[day.day % 2]
            day += timedelta(days=7 + n % 4)


def csv(path: Path, header: str, rows, separator=","):
    lines = [
        header,
        *(separator.join("" if cell is None else str(cell) for cell in row) for row in rows),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(*words: object) -> str:
    result = CliRunner().invoke(keepwell.app, [str(word) for word in words], env={"COLUMNS": "400"})
    said = " ".join(result.output.split())
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        said += " " + " ".join(str(result.exception).split())
    return said


def mapped(folder: Path) -> str:
    said = run("init", "--from", folder, "--yes", "--workspace", folder.parent / "w")
    assert "Wrote" in said, said
    return (folder / "mapping.toml").read_text(encoding="utf-8")


def scored(folder: Path) -> pl.DataFrame:
    """The scores that come of the mapping as it was proposed."""
    place = folder.parent / "w"
    mapped(folder)
    said = run("ingest", folder, "--mapping", folder / "mapping.toml", "--workspace", place)
    assert said.startswith("Ingesting"), said
    assert "quarantined" not in said, said
    said = run("check", "--workspace", place)
    assert f"of {N} accounts are known" in said, said
    assert "churn: The contract ends without renewal" in said, said
    assert "within 30 days: yes" in said or "accounts with the outcome are needed" in said, said
    Workspace(place, environment={}).change_settings(yearly_churn=0.2)  # as init would ask
    out = folder.parent / "scores.parquet"
    said = run("score", "--out", out, "--workspace", place)
    assert out.exists(), said
    found = pl.read_parquet(out)
    known = found.filter(pl.col("churn_probability_90d").is_not_null())
    assert known.height > N / 2  # of all that have not left
    assert known["degraded"].str.contains("not yet learned from your data").all()
    return found


@pytest.fixture
def exports(tmp_path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder


def test_a_single_table_as_on_kaggle_says_that_no_day_is_known(exports):
    rows = [
        (
            f"{n:04}-ABC",
            "Yes" if n % 2 else "No",
            n,
            20 + n,
            "Month-to-month",
            "Yes" if n % 3 == 0 else "No",
        )
        for n in range(40)
    ]
    csv(exports / "telco.csv", "customerID,Partner,tenure,MonthlyCharges,Contract,Churn", rows)
    said = run("init", "--from", exports, "--yes")
    assert "says who left (Churn) and not on which day" in said
    assert "Add the day each customer started and the day it left" in said
    assert not (exports / "mapping.toml").exists()


def test_invoices_only(exports):
    def invoices():
        for n, start, left, mrr in customers():
            day = start
            while day < (left or LAST):
                yield f"INV-{n}-{day:%m%d}", f"c{n}", day, mrr
                day += timedelta(days=30)

    csv(exports / "invoices.csv", "invoice_no,customer,invoice_date,amount", invoices())
    assert 'type = "invoices"' in mapped(exports)
    (exports / "mapping.toml").unlink()
    assert scored(exports).height == N


def test_wide_monthly_columns(exports):
    months = [f"{2023 + m // 12}-{m % 12 + 1:02}" for m in range(18)]

    def rows():
        for n, start, left, mrr in customers():
            paid = [
                mrr
                if f"{start:%Y-%m}" <= month and (left is None or month < f"{left:%Y-%m}")
                else ""
                for month in months
            ]
            yield f"c{n}", ("retail", "bank")[n % 2], *paid

    csv(exports / "mrr.csv", "account_id,industry," + ",".join(months), rows())
    assert 'type = "monthly_mrr"' in mapped(exports)
    (exports / "mapping.toml").unlink()
    assert scored(exports).height == N


def test_json_events(exports):
    (exports / "events.jsonl").write_text(
        "\n".join(
            json.dumps(
                {
                    "account_id": f"c{n}",
                    "timestamp": f"{day}T10:00:00Z",
                    "event": what,
                    "user_id": who,
                }
            )
            for n, day, who, what in use()
        )
    )
    csv(
        exports / "customers.csv",
        "account_id,signup_date,cancelled_on,mrr",
        ((f"c{n}", start, left, mrr) for n, start, left, mrr in customers()),
    )
    text = mapped(exports)
    assert 'kind = "feature.used"' in text
    assert 'cancelled = "cancelled_on"' in text
    (exports / "mapping.toml").unlink()
    assert scored(exports).height == N


def test_semicolons_and_decimal_commas(exports):
    csv(
        exports / "kunden.csv",
        "Kundennummer;Kunde seit;Beginn;Kuendigung;Betrag",
        ((f"c{n}", n, start, left, f"1.{mrr:03},50") for n, start, left, mrr in customers()),
        separator=";",
    )
    text = mapped(exports)
    assert 'separator = ";"' in text
    assert 'decimal = ","' in text
    (exports / "mapping.toml").unlink()
    frame = scored(exports)
    assert frame.height == N


def test_days_before_months(exports):
    csv(
        exports / "subscriptions.csv",
        "customer_id,start_date,left_on,monthly_fee",
        (
            (f"c{n}", f"{start:%d.%m.%Y}", f"{left:%d.%m.%Y}" if left else "", mrr)
            for n, start, left, mrr in customers()
        ),
    )
    csv(
        exports / "logins.csv",
        "customer_id,login_date,user_email",
        ((f"c{n}", day, who) for n, day, who, _ in use(written="%d/%m/%Y")),
    )
    text = mapped(exports)
    assert 'time_format = "%d.%m.%Y"' in text
    assert 'time_format = "%d/%m/%Y"' in text
    (exports / "mapping.toml").unlink()
    assert scored(exports).height == N


def test_two_currencies_are_never_summed(exports):
    csv(
        exports / "contracts.csv",
        "company,start_date,left_on,mrr,currency",
        (
            (f"c{n}", start, left, mrr, ("EUR", "USD")[n % 4 == 0])
            for n, start, left, mrr in customers()
        ),
    )
    mapped(exports)
    said = run(
        "ingest", exports, "--mapping", exports / "mapping.toml", "--workspace", exports / "w"
    )
    assert "amounts in 2 currencies: EUR (22 rows), USD (8 rows). They are never summed" in said
    assert "where = \"currency = 'EUR'\"" in said


def test_zeros_in_front_of_ids_are_kept(exports):
    csv(
        exports / "accounts.csv",
        "account_number,created_at,churned_at,mrr",
        ((f"{n:06}", start, left, mrr) for n, start, left, mrr in customers()),
    )
    csv(
        exports / "usage.csv",
        "account_number,used_on,feature",
        ((f"{n:06}", day, what) for n, day, _, what in use()),
    )
    assert "zeros in front are kept" in mapped(exports)
    (exports / "mapping.toml").unlink()
    frame = scored(exports)
    assert sorted(frame["account_id"]) == [f"{n:06}" for n in range(N)]


def test_an_account_table_with_people(exports):
    csv(
        exports / "companies.csv",
        "company_id,company_name,industry,start_date,left_on,seats,mrr",
        (
            (n + 1, f"Company {n}", ("retail", "bank")[n % 2], start, left, 3 + n % 4, mrr)
            for n, start, left, mrr in customers()
        ),
    )
    csv(
        exports / "users.csv",
        "user_id,company_id,email,role,last_login",
        (
            (
                f"u{n}-{p}",
                n + 1,
                f"u{n}-{p}@example.com",
                ("admin", "user")[p % 2],
                "2024-06-2" + str(p),
            )
            for n in range(N)
            for p in range(3)
        ),
    )
    text = mapped(exports)
    assert 'account = "company_id"' in text
    assert 'user = "user_id"' in text
    assert "industry" in text
    (exports / "mapping.toml").unlink()
    assert scored(exports).height == N


def test_a_table_of_leavers_only_says_who_is_missing(exports):
    csv(
        exports / "churned_customers.csv",
        "customer_id,start_date,left_on,reason",
        ((f"c{n}", start, left or LAST, "price") for n, start, left, _ in customers()),
    )
    said = run("init", "--from", exports, "--yes")
    assert "holds leavers only" in said
    assert "Those who stayed are missing" in said


def test_who_left_within_a_month_after_two_weeks_of_use_is_trained_on_as_it_is(exports):
    """One window, as many studies have: use until a day, and a flag of who left after it."""
    draw = random.Random(3)
    members = [(f"{n:04}", FIRST - timedelta(days=draw.randrange(400))) for n in range(1_200)]
    often = [draw.expovariate(1 / 4) for _ in members]
    csv(
        exports / "visits.csv",
        "member_id,visited_at,page",
        (
            (
                name,
                f"{FIRST + timedelta(days=draw.randrange(14))} 10:00:00",
                draw.choice(["plan", "claims"]),
            )
            for (name, _), count in zip(members, often, strict=True)
            for _ in range(round(count))
        ),
    )
    csv(
        exports / "members.csv",
        "member_id,signup_date,churn",
        (
            (name, since, int(draw.random() < (0.6 if count < 2 else 0.15)))
            for (name, since), count in zip(members, often, strict=True)
        ),
    )
    (exports / "README.txt").write_text("What is in these files.")
    place, mapping = exports.parent / "w", exports / "mapping.toml"
    said = run("init", "--from", exports, "--yes", "--workspace", place)
    assert "one row a customer, and who left (churn)" in said
    assert "Missing" not in said
    assert "keepwell snapshot --as-of 2023-01-15" in said
    text = mapping.read_text(encoding="utf-8")
    assert "left_on = \"if(text(churn) = '1', '2023-01-30', '')\"" in text
    assert 'use_names = ["plan", "claims"]' in text or 'use_names = ["claims", "plan"]' in text
    run("ingest", exports, "--mapping", mapping, "--workspace", place)
    assert "within 30 days: yes" in run("check", "--workspace", place)
    run("snapshot", "--as-of", "2023-01-15", "--workspace", place)
    said = run("train", "churn", "--trials", 0, "--workspace", place)
    assert "Judged on other accounts of the same month" in said, said
    assert (
        "taken from the chance within 30 days, as if accounts went on leaving at its rate" in said
    )
    said = run("models", "promote", "churn", 1, "--by", "Ada", "--workspace", place)
    assert "serves now" in said, said
    out = exports.parent / "scores.parquet"
    said = run("score", "--out", out, "--workspace", place)
    assert "1,200 accounts as of 2023-01-15 (1,200 by a model)" in said, said
    found = pl.read_parquet(out)
    assert found["risk_tier"].null_count() == found["revenue_at_risk"].null_count() == 0
    near, far = found["churn_probability_30d"], found["churn_probability_90d"]
    assert (far > near).all()
    assert (
        (found["churn_probability_90d_low"] < far) & (far < found["churn_probability_90d_high"])
    ).all()
    said = run("train", "churn", "--trials", 0, "--workspace", place)
    assert "at the cutoff of 2023-01" in said, said
