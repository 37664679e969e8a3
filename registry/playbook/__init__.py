"""The playbook: the actions and sequences that we can do for an account, as data.

Reads and checks `actions.toml` and `sequences.toml`, and the conditions that they use.
"""

__all__ = [
    "actions",
    "condition_grammar",
    "conflicts",
    "group_rules",
    "own_rules",
    "playbook",
    "prices",
    "sequences",
]
