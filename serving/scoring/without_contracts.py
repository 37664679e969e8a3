"""Accounts without contracts: what scoring reads of a snapshot where nobody has signed anything.

The state of the contract then says whether the account has ordered (or used) lately, and monthly revenue
is a twelfth of what it bought in the last 365 days. All that reads these two, from the policy to the
pages, follows. Pure.
"""

from __future__ import annotations

import polars as pl

from features.catalogue.definitions.attributes import CONTRACT_STATUS
from features.leaving import Leaving
from registry.bundle.bundle import ModelBundle
from registry.outcomes import ORDER_KINDS, churn_of
from serving.scoring.expected_money import MONTHS_PER_YEAR
from serving.scoring.score import ServedModel
from serving.text_format import plural

BOUGHT = "order_amount_365d"
SINCE_ORDER, SINCE_USE = "days_since_order", "days_since_activity"
READS = (BOUGHT, SINCE_ORDER, SINCE_USE)
"""The features that stand in for a contract."""


def as_customers(frame: pl.DataFrame, leaving: Leaving) -> pl.DataFrame:
    """A snapshot whose contract status and monthly revenue are those of orders.

    It stays as it is where accounts have contracts. A status is ``active`` with an order (or use) in
    the days that the workspace states, ``ended`` with an older one, else ``none``.
    """
    if not leaving.is_no_use:
        return frame
    names = {SINCE_ORDER if kind in ORDER_KINDS else SINCE_USE for kind in leaving.kinds}
    known = [pl.col(name) for name in sorted(names) if name in frame.columns]
    since = pl.min_horizontal(known) if known else pl.lit(None, pl.Float64)
    bought = pl.col(BOUGHT) if BOUGHT in frame.columns else pl.lit(None, pl.Float64)
    return frame.with_columns(
        pl.when(since <= leaving.used_within_days)
        .then(pl.lit("active"))
        .when(since.is_not_null())
        .then(pl.lit("ended"))
        .otherwise(pl.lit("none"))
        .alias(CONTRACT_STATUS),
        (bought / MONTHS_PER_YEAR).alias("mrr"),
    )


def why_gone(leaving: Leaving) -> str:
    """Why an account whose last order is too old is not scored."""
    what = "ordered" if leaving.is_of_orders else "used"
    days = plural(leaving.used_within_days, "day")
    return f"nothing was {what} for more than {days}, so that it counts as gone"


def why_not_yet(leaving: Leaving) -> str:
    """Why an account without any order is not scored."""
    return f"nothing was {'ordered' if leaving.is_of_orders else 'used'} yet"


def other_meaning(served: ServedModel, leaving: Leaving) -> str | None:
    """Why a model of churn may not answer: it learned another meaning of leaving; None where it may."""
    if not isinstance(served.model, ModelBundle):
        return None
    policy, churn = served.model.metadata.label_policy, churn_of(leaving)
    wanted: dict[str, object] = {"rule": churn.rule}
    if leaving.is_no_use:
        wanted |= {
            "use_kinds": ",".join(churn.use_kinds),
            "used_within_days": churn.used_within_days,
            "horizons": ",".join(map(str, churn.horizons)),
        }
    if all(policy.get(name, "contract_ends") == value for name, value in wanted.items()):
        return None
    return (
        f"{served.version} learned another meaning of leaving than the workspace states now: "
        f"{churn.description[0].lower()}{churn.description[1:].rstrip('.')}; train it again"
    )
