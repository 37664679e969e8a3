"""The errors with which a training is refused, each a readable sentence."""

from __future__ import annotations


class TrainingError(ValueError):
    """A model cannot be trained as asked; the message says why and what to do."""


class NoAccountsError(TrainingError):
    """No account belongs to the label's cohort at any cutoff."""


class OneClassError(TrainingError):
    """The outcome never came, or always: there is nothing to tell apart."""


class HorizonTooLongError(TrainingError):
    """The data do not reach far enough to judge the horizon."""


class FeatureMatrixError(TrainingError):
    """The features read for the training rows cannot be used."""
