"""Labels, cutoffs, cohorts and splits: from events and snapshots to a training set.

No label window crosses a split, and a window that is not over is left out.
"""

__all__ = [
    "cutoffs",
    "data_span",
    "errors",
    "held_out_accounts",
    "history",
    "labels",
    "left_out",
    "outcome_lookup",
    "splits",
    "training_set",
    "treatments",
]
