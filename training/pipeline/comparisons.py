"""Compare two models beyond the log loss, on the same rows.

Revenue captured: at each cutoff a team looks after the accounts with the most revenue at risk; what
counts is the share of all MRR at stake that those accounts hold. Segments: the log loss within
thirds of the rows by MRR, tenure and health, within the groups of an attribute (segment, service
tier), and at each shorter horizon. Explanations: whether refits on other accounts rank the
features alike. Everything is paired and drawn by whole accounts. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from registry.bundle.model_forms import ModelForm
from registry.promotion.promotion import Gain, gain, log_loss_rows, ratio_gain
from training.dataset.labels import ROW
from training.dataset.training_set import FeatureReader
from training.pipeline.prepare import PreparedData

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Rows = NDArray[np.bool_]

CAPACITIES = (5, 10, 20, 50, 100, 200)
"""Accounts a cutoff at which revenue captured is measured."""

LEAST_ACCOUNTS = 10
"""The number of accounts with the outcome, and without, needed to judge a segment alone."""

PARTS = ("lowest", "middle", "highest")

REFITS, REFITTED_SHARE = 2, 0.632
"""Refits behind the agreement of explanations, on the share of accounts that a bootstrap holds."""

EXPLAINED_ROWS = 400


@dataclass(frozen=True, kw_only=True)
class EvaluationRows:
    """The test rows: whose, when, what happened, and the money that was at stake."""

    outcome: Vector
    account: NDArray[np.int64]
    cutoff: NDArray[np.int64]
    mrr: Vector  # NaN unknown
    moved: Vector  # MRR that went, or came, with the outcome; 0 where nothing did or none is known
    segments: Mapping[str, Rows]

    @classmethod
    def of(cls, prepared: PreparedData, attributes: pl.DataFrame | None = None) -> EvaluationRows:
        """The test rows of a prepared training, at its longest horizon.

        ``attributes`` are those of the accounts of ``keys_of_test``, in that order.
        """
        training, test = prepared.training, prepared.test
        mrr = _mrr(prepared)[test]
        grows = training.label.money == "expected_expansion"
        stake = mrr * training.amounts[test] if grows else mrr
        outcome = training.outcome[test]
        known = {"MRR": mrr}
        for title, name in (("tenure", "tenure_days"), ("health", "health_score")):
            if name in training.names:
                known[title] = training.matrix[test, training.names.index(name)]
        return cls(
            outcome=outcome,
            account=training.account[test],
            cutoff=training.cutoff[test],
            mrr=mrr,
            moved=np.where(outcome == 1, np.nan_to_num(stake), 0.0),
            segments={
                **{
                    name: rows
                    for title, values in known.items()
                    for name, rows in thirds(title, values).items()
                },
                **({} if attributes is None else rows_by_attribute(attributes)),
            },
        )


def keys_of_test(prepared: PreparedData) -> pl.DataFrame:
    """Account and moment of each test row."""
    training, test = prepared.training, prepared.test
    dtype = prepared.labelled.frame.schema["as_of"]
    return pl.DataFrame(
        {
            "account_id": pl.Series(training.accounts).gather(training.account[test]),
            "as_of": pl.Series(training.cutoffs, dtype=dtype).gather(training.cutoff[test]),
        }
    )


def attributes_of(prepared: PreparedData, reader: FeatureReader) -> pl.DataFrame:
    """The attributes of the accounts of the test rows at their cutoffs, row by row."""
    keys = keys_of_test(prepared)
    return keys.join(reader(keys), on=ROW, how="left", maintain_order="left", validate="1:1")


def rows_by_attribute(attributes: pl.DataFrame) -> dict[str, Rows]:
    """Rows by the value of an attribute; an attribute that is never known is left out.

    >>> import polars as pl
    >>> frame = pl.DataFrame({"service_tier": ["gold", None], "segment": [None, None]})
    >>> {name: rows.tolist() for name, rows in rows_by_attribute(frame).items()}
    {'service tier gold': [True, False], 'service tier unknown': [False, True]}
    """
    found: dict[str, Rows] = {}
    for column in attributes.drop(ROW, strict=False):
        title, texts = column.name.replace("_", " "), column.cast(pl.String)
        for name in sorted(texts.drop_nulls().unique()):
            found[f"{title} {name.replace('|', '/')}"] = (texts == name).fill_null(False).to_numpy()
        if 0 < texts.null_count() < len(texts):
            found[f"{title} unknown"] = texts.is_null().to_numpy()
    return found


def thirds(title: str, values: Vector) -> dict[str, Rows]:
    """Rows by thirds of a number, and those where it is unknown; none of them empty.

    >>> import numpy as np
    >>> {name: rows.tolist() for name, rows in thirds("x", np.array([1, 2, 3, np.nan])).items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'x unknown': [False, False, False, True], 'x lowest third': [True, False, False, False],
     'x middle third': [False, True, False, False], 'x highest third': [False, False, True, False]}
    """
    unknown = np.isnan(values)
    parts = {f"{title} unknown": unknown}
    if not unknown.all():
        third = np.searchsorted(np.quantile(values[~unknown], [1 / 3, 2 / 3]), values, side="left")
        parts |= {
            f"{title} {part} third": (third == place) & ~unknown for place, part in enumerate(PARTS)
        }
    return {name: rows for name, rows in parts.items() if rows.any()}


def rows_at_capacity(rows: EvaluationRows, probability: Vector, capacity: int) -> Rows:
    """The rows that a team would look after: the most expected money at each cutoff."""
    expected = np.nan_to_num(probability * rows.mrr)
    taken = np.zeros(len(expected), dtype=np.bool_)
    for cutoff in np.unique(rows.cutoff):
        at = np.flatnonzero(rows.cutoff == cutoff)
        taken[at[np.argsort(-expected[at], kind="stable")[:capacity]]] = True
    return taken


def captured_revenue(rows: EvaluationRows, probability: Vector, capacity: int) -> float | None:
    """The share of the revenue that changed in the first accounts of each cutoff; None: none changed."""
    whole = rows.moved.sum()
    taken = rows_at_capacity(rows, probability, capacity)
    return float(rows.moved[taken].sum() / whole) if whole > 0 else None


def captured_revenue_gain(
    rows: EvaluationRows,
    probability: Vector,
    other: Vector,
    capacity: int,
    *,
    among: Rows,
    seed: int,
) -> Gain | None:
    """How much more revenue one order of accounts captures than another, among these rows."""
    money = np.where(among, rows.moved, 0.0)
    if not money.sum() > 0:
        return None
    mine, others = (rows_at_capacity(rows, p, capacity).astype(float) for p in (probability, other))
    return ratio_gain((mine - others) * money, money, rows.account, np.random.default_rng(seed))


def segment_gains(
    rows: EvaluationRows, probability: Vector, other: Vector, *, among: Rows, seed: int
) -> dict[str, Gain]:
    """The gain in log loss within every segment of these rows that can be judged alone."""
    found = {}
    for name, inside in rows.segments.items():
        judged = inside & among
        y, account = rows.outcome[judged], rows.account[judged]
        if enough_accounts(y, account):
            found[name] = gain(
                log_loss_rows(y, probability[judged]),
                log_loss_rows(y, other[judged]),
                account,
                np.random.default_rng(seed),
            )
    return found


def horizon_gains(
    prepared: PreparedData,
    probabilities: Mapping[int, Vector],
    others: Mapping[int, Vector],
    *,
    seed: int,
) -> dict[str, Gain]:
    """The gain in log loss at each horizon below the longest; rows without another are left out."""
    training, found = prepared.training, {}
    for position, horizon in enumerate(training.horizons[:-1]):
        if horizon not in others:
            continue
        outcome, other = training.outcomes[prepared.test, position], others[horizon]
        judged = ~np.isnan(outcome) & ~np.isnan(other)
        y, account = outcome[judged], training.account[prepared.test][judged]
        if enough_accounts(y, account):
            found[f"within {horizon} days"] = gain(
                log_loss_rows(y, probabilities[horizon][judged]),
                log_loss_rows(y, other[judged]),
                account,
                np.random.default_rng(seed),
            )
    return found


def enough_accounts(y: Vector, account: NDArray[np.int64]) -> bool:
    """Whether rows hold enough accounts with the outcome, and without, to be judged alone."""
    return min(len(np.unique(account[y == 1])), len(np.unique(account[y == 0]))) >= LEAST_ACCOUNTS


def explanations_agreement(
    prepared: PreparedData,
    columns: list[int],
    form: ModelForm,
    refit: Callable[[Rows], ModelForm | None],
    rng: np.random.Generator,
) -> float | None:
    """The mean rank correlation of feature importance between a form and its refits.

    None where none of them reads any feature.
    """
    training = prepared.training
    explained = np.flatnonzero(prepared.test)
    explained = np.sort(rng.permutation(explained)[:EXPLAINED_ROWS])
    matrix = training.part(explained, columns)
    told = importance(form, matrix)
    found = []
    for _ in range(REFITS):
        kept = rng.random(len(training.accounts)) < REFITTED_SHARE
        other = refit(prepared.before_test & kept[training.account])
        if other is not None:
            found.append(rank_agreement(told, importance(other, matrix)))
    known = [one for one in found if one is not None]
    return float(np.mean(known)) if known else None


def importance(form: ModelForm, matrix: Matrix) -> Vector:
    """The mean absolute contribution of each feature, in log-odds."""
    return np.asarray(np.abs(form.contributions(matrix)).mean(axis=0))


def rank_agreement(one: Vector, other: Vector) -> float | None:
    """Spearman's correlation over the features that either reads; None where there is no order.

    >>> import numpy as np
    >>> rank_agreement(np.array([3.0, 2.0, 1.0, 0.0]), np.array([9.0, 5.0, 1.0, 0.0]))
    1.0
    """
    read = (one > 0) | (other > 0)
    if read.sum() < 2:
        return 1.0 if read.any() and (one[read] > 0).all() and (other[read] > 0).all() else None
    ranks = np.stack([pl.Series(values[read]).rank().to_numpy() for values in (one, other)])
    if (np.ptp(ranks, axis=1) == 0).any():
        return None
    return round(float(np.corrcoef(ranks)[0, 1]), 12)


def _mrr(prepared: PreparedData) -> Vector:
    """The MRR of each row of the training set as it was known at its cutoff."""
    training, known = prepared.training, prepared.labelled.frame
    rows = pl.DataFrame(
        {
            "account_id": pl.Series(training.accounts).gather(training.account),
            "as_of": pl.Series(training.cutoffs, dtype=known.schema["as_of"]).gather(
                training.cutoff
            ),
        }
    )
    joined = rows.join(known.select(*ROW, "mrr"), on=ROW, how="left", maintain_order="left")
    return np.asarray(joined["mrr"].cast(pl.Float64).fill_null(np.nan).to_numpy())
