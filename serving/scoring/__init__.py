"""Score accounts and explain the scores, from features and the served models.

One path for a single account and for a million; the formula answers where no model can.
"""

__all__ = [
    "account_families",
    "alerts",
    "expected_money",
    "explanations",
    "models_served",
    "outlooks",
    "portfolio",
    "reasons",
    "score",
    "scored_columns",
    "scores_file",
    "shadow",
    "visible_accounts",
]
