"""The shapes of outlooks on the wire: renewal, growth, what if nobody acts."""

from __future__ import annotations

from pydantic import Field

from serving.api.schemas.scores import ProbabilityAnswer
from serving.api.schemas.wire_model import Answer


class OutlookAnswer(Answer):
    """What a model of another outcome says; without a probability, the note says why."""

    probability: ProbabilityAnswer | None
    note: str | None


class GrowthAnswer(ProbabilityAnswer):
    """The chance to expand before any churn within a horizon, and what it comes to a year."""

    expected_expansion: float | None = Field(
        description="Probability × the usual rise of MRR × 12; null where the MRR is not known."
    )
    expected_expansion_low: float | None
    expected_expansion_high: float | None


class RenewalAnswer(Answer):
    """Whether the account leaves, or expands, by its coming renewal.

    The probability is that of leaving when the term ends, of an account that is still there, where
    the model knows the ends of terms; its horizon is the day after. Else it is that of the shortest
    served horizon that holds the renewal date.
    """

    days_to_renewal: float | None
    probability: ProbabilityAnswer | None = Field(description="null: not estimable, see the note.")
    risk_tier: str | None = Field(
        description="Low, medium, high or critical: of the chance to leave when the term ends, in "
        "multiples of what is usual then."
    )
    note: str | None


class TouchedLabelsAnswer(Answer):
    """Of the labels that the model learned from: how many are of accounts that were acted on."""

    horizon_days: int
    labels: int
    touched: int
    share: float
    with_outcome: int
    touched_with_outcome: int
    actions: dict[str, int] = Field(description="By the first action.")


class UntouchedAnswer(Answer):
    """The risk if nobody acts, beside the plain one; the note says why where it is not known."""

    probabilities: list[ProbabilityAnswer] = Field(
        description="Rising with the horizon. Their interval holds the error of the plain one and "
        "that of the difference; there is no base rate of them."
    )
    note: str | None
    not_known: dict[int, str] = Field(description="Horizons that are not known, with the reason.")
    assumption: str | None = Field(description="What has to be true for it to be right.")
    touched_labels: list[TouchedLabelsAnswer]
