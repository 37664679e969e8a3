"""Why one account may leave when its term ends, where that is later than the days of the tiers.

Within those days hardly a contract ends before its term, so the chance is small and all that speaks
for or against it adds next to nothing. What the model knows of the account shows in the chance at the
renewal. It is explained for one account when its page is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from features.catalogue.feature import AnyFeature
from features.health.formula import HealthFormula
from serving.scoring.explanations import Peers, Reasons, peer_words
from serving.scoring.outlooks import renewal_outlook
from serving.scoring.reasons.choice import choose_reasons, segments_of
from serving.scoring.reasons.facts import Facts
from serving.scoring.reasons.in_words import ReasonedRows, UsualValues
from serving.scoring.score import TIER_HORIZON_DAYS, AccountScore, Models


def renewal_reasons(
    score: AccountScore,
    models: Models,
    *,
    peers: Peers | None,
    catalogue: Mapping[str, AnyFeature],
    formula: HealthFormula,
) -> Reasons | None:
    """The reasons of the chance to leave at the coming renewal.

    None where the term ends within the days of the tiers, whose reasons tell it already, or where the
    model knows no chance at the renewal.

    Args:
        score: of the account.
        models: what it was scored with.
        peers: what is usual among similar accounts; None: nothing is compared.
        catalogue: of the features.
        formula: of the health score.
    """
    found = renewal_outlook(score)
    if not found.at_the_end or (found.days_to_renewal or 0.0) < TIER_HORIZON_DAYS:
        return None
    assert models.churn is not None, "it knows the chance at the renewal"
    model = models.churn.model
    matrix = model.contract.matrix({**score.attributes, **score.features})
    numbers = {name: np.nan if v is None else v for name, v in score.features.items()}
    frame = pl.DataFrame([{**numbers, **score.attributes}], infer_schema_length=None)
    facts = Facts.of(model.contract.names, catalogue, formula)
    rows = facts.explain_renewal(model, matrix, frame.fill_nan(None), raw=model.raw(matrix))
    if rows is None:
        return None
    peers = peers or Peers(groups={})
    usual = UsualValues(names=facts.names, peers=peers, otherwise=model.usual)
    chosen = choose_reasons(
        rows, usual.medians(usual.groups(frame)), model.reason_evidence, segments_of(frame)
    )
    # what came of accounts is counted within the days of the tiers, so it says nothing here
    told = ReasonedRows(chosen=chosen, catalogue=catalogue, base_rate=None)
    return told.reasons(0, peers.of(peer_words(score.attributes, score.features)))
