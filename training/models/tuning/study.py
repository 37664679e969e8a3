"""The result of a tuning study: the parameters to use, and how they compare with the defaults."""

from __future__ import annotations

from dataclasses import dataclass

from registry.promotion.promotion import Gain
from training.models.specs import Parameters


@dataclass(frozen=True, kw_only=True)
class Study:
    """The result of a study: the parameters to use and how they compare with the defaults."""

    parameters: Parameters
    loss: float  # of these parameters on the folds that chose
    default_loss: float
    confirmed: Gain | None  # of the chosen over the defaults, on the fold that chose nothing
    kept_defaults: bool
    trials: int
    pruned: int
    resumed: int = 0  # trials that an earlier process had finished

    @property
    def confidence(self) -> float:
        """The share of draws in which the chosen parameters beat the defaults, on the newest fold."""
        return 0.0 if self.confirmed is None else self.confirmed.confidence

    @property
    def sentence(self) -> str:
        """The result of the study, as a sentence of the card."""
        if self.trials == 0:
            return "No study was made: these are the declared parameters."
        made = f"A study of {self.trials} trials, {self.pruned} of them stopped early"
        if self.confirmed is None:
            return f"{made}: the declared parameters stay, nothing was better on the folds."
        over = (
            f"log loss lower by {self.confirmed.mean:+.4f} ({self.confirmed.low:+.4f} to "
            f"{self.confirmed.high:+.4f}) on the newest fold, which chose nothing"
        )
        verdict = (
            "the declared parameters stay, the best trial is not clearly better"
            if self.kept_defaults
            else "better than the declared parameters"
        )
        return f"{made}: {verdict}; {over}."
