"""One cutoff, or few: other accounts judge, nothing of them is learned, and every place says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from registry.promotion.promotion import decide
from registry.store.store import JUDGED_ON_OTHER_ACCOUNTS
from training.dataset.errors import HorizonTooLongError, OneClassError
from training.dataset.labels import label_named
from training.models.model_selection import run_contender
from training.models.specs import SPECS
from training.pipeline.evidence import as_metrics, from_metrics
from training.pipeline.prepare import prepare

OTHER_ACCOUNTS = "Judged on other accounts of the same month; nothing is known of later months"


@pytest.fixture(scope="module")
def company(small_company):
    return small_company(n_accounts=700, months=6)


def prepared_at(company, *months: int, label=None, **changes):
    given = {
        "events": company.events,
        "reader": company.reader,
        "digests": dict.fromkeys(company.digests, "1"),
        "cutoffs": tuple(company.cutoffs[month] for month in months),
        "known_until": company.known_until,
        "hold_out_accounts": True,
    }
    return prepare(label or label_named("churn"), **(given | changes))


@pytest.fixture(scope="module")
def one_cutoff(company):
    return prepared_at(company, 2)


@pytest.fixture(scope="module")
def trained_on_one(company):
    from tests.training.conftest import KeepingStore

    store = KeepingStore()
    result = company.train(store=store, cutoffs=(company.cutoffs[2],), trials=0)
    return result, store


def test_with_one_cutoff_a_third_of_the_accounts_judges(one_cutoff) -> None:
    learn = set(one_cutoff.training.account[one_cutoff.before_test])
    judge = set(one_cutoff.training.account[one_cutoff.test])
    assert one_cutoff.split.by_accounts
    assert not learn & judge
    assert 0.3 < len(judge) / len(learn | judge) < 0.36
    assert one_cutoff.tuning_folds == ()


def test_a_family_stays_on_one_side(company) -> None:
    def parents(rows: pl.DataFrame, /) -> pl.DataFrame:
        return rows.with_columns(parent=pl.lit("group-") + pl.col("account_id").str.slice(1, 2))

    found = prepared_at(company, 2, parents=parents)
    sides: dict[str, set[bool]] = {}
    for name, held in zip(found.training.accounts, found.held_out.tolist(), strict=True):
        sides.setdefault(name[1:3], set()).add(held)
    assert all(len(side) == 1 for side in sides.values())
    fifths: dict[str, set[int]] = {}
    for row, fifth in zip(found.training.account, found.training.fifth, strict=True):
        fifths.setdefault(found.training.accounts[row][1:3], set()).add(int(fifth))
    assert all(len(one) == 1 for one in fifths.values())


@pytest.mark.parametrize("spec", [s for s in SPECS if s.form != "renewal"], ids=lambda s: s.name)
def test_the_outcomes_of_accounts_that_judge_change_no_probability(one_cutoff, spec) -> None:
    training = one_cutoff.training
    turned = replace(
        training,
        outcomes=np.where(one_cutoff.hidden[:, None], 1 - training.outcomes, training.outcomes),
    )
    found = [
        run_contender(
            spec,
            one,
            one_cutoff.before_test,
            one_cutoff.test,
            spec.parameters,
            np.ones((1, len(one.accounts))),
            at=one_cutoff.learned_at,
            seed=1,
            hidden=one_cutoff.hidden,
        ).probabilities
        for one in (training, turned)
    ]
    for horizon in training.horizons:
        np.testing.assert_array_equal(found[0][horizon], found[1][horizon])


def test_the_summary_the_card_the_evidence_and_the_version_say_it(trained_on_one) -> None:
    result, store = trained_on_one
    assert OTHER_ACCOUNTS in result.summary
    assert "nothing is known of later months" in " ".join(result.promotion.reasons)
    for run in store.runs:
        assert OTHER_ACCOUNTS in run.documents["model_card.md"]
        assert run.metrics[JUDGED_ON_OTHER_ACCOUNTS] == 1.0
    assert from_metrics(result.bundle.metrics).on_other_accounts
    assert all("later rows" not in name for name in result.bundle.metrics)
    version = store.versions("churn")[0]
    assert (
        version.judged_on == "other accounts of the same months; nothing is known of later months"
    )


def test_it_is_promoted_by_evidence_like_any_other(trained_on_one) -> None:
    result, _ = trained_on_one
    assert result.promoted, result.summary


def test_evidence_of_later_months_stores_nothing_new(trained_on_one) -> None:
    result, _ = trained_on_one
    evidence = replace(from_metrics(result.bundle.metrics), on_other_accounts=False)
    assert not [name for name in as_metrics(evidence) if "other_accounts" in name]
    assert "later months" not in [check.name for check in decide(evidence).checks]


def test_features_that_say_nothing_are_not_promoted(small_company) -> None:
    company = small_company(n_accounts=700, months=6, told=0.0)
    result = company.train(cutoffs=(company.cutoffs[2],), trials=0)
    assert not result.promoted
    assert OTHER_ACCOUNTS in result.summary


def test_with_a_handful_of_cutoffs_one_fits_and_a_later_one_judges(company) -> None:
    churn = replace(label_named("churn"), horizons=(60,), long_horizons=())
    found = prepared_at(company, 0, 1, 2, 3, label=churn)
    assert not found.split.by_accounts
    assert len(found.split.before_test) == 2
    assert len(found.split.test) == 1


def test_too_few_accounts_with_the_outcome_are_refused_with_the_number(small_company) -> None:
    company = small_company(n_accounts=120, months=6)
    said = r"at least 30 accounts with the outcome within 90 days and 30 without; there are \d+ and \d+"
    with pytest.raises(OneClassError, match=said):
        prepared_at(company, 2)


def test_a_window_that_has_not_closed_names_the_longest_horizon_that_has(company) -> None:
    churn = replace(label_named("churn"), horizons=(90,), long_horizons=())
    with pytest.raises(HorizonTooLongError, match=r"at most 31 days \(keepwell train churn --hor"):
        prepared_at(company, -1, label=churn)


def test_a_longer_horizon_says_how_to_ask_for_it(company) -> None:
    found = prepared_at(company, 0)
    assert "keepwell train churn --horizon 180" in found.not_estimable[180]
    assert "known until 2022-08-01" in found.not_estimable[365]
