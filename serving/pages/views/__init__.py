"""The parts that pages are made of: each turns values into what a template shows.

Pure; holds no HTML.
"""

__all__ = [
    "account_links",
    "actions_view",
    "autonomy_view",
    "capacity_view",
    "charts",
    "family_view",
    "feedback_view",
    "figures",
    "history_view",
    "outlooks_view",
    "policy_words",
    "reasons_view",
]
