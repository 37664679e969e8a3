"""What Keepwell trains on and with, for scikit-learn: arrays, a cross-validator, an estimator."""

from training.scikit_learn.arrays import TrainingArrays, training_arrays
from training.scikit_learn.cross_validator import LaterCutoffs
from training.scikit_learn.estimator import ContenderClassifier

__all__ = ["ContenderClassifier", "LaterCutoffs", "TrainingArrays", "training_arrays"]
