"""This module is about what can be predicted: the outcomes whose models are stored and served."""

from __future__ import annotations

from enum import StrEnum


class Predicted(StrEnum):
    """What can be predicted."""

    CHURN = "churn"
    EXPANSION = "expansion"
    CONTRACTION = "contraction"
    SILENT_CHURN = "silent_churn"
