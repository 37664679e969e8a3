"""Estimate what an intervention caused, by a design that is written before the data are read.

A failed check silences the headline.
"""

__all__ = [
    "analysis",
    "checks",
    "contrast",
    "design",
    "estimates",
    "estimators",
    "exclusions",
    "interventions",
    "outcomes",
    "power",
    "sample",
    "sentences",
    "trials",
]
