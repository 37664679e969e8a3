"""The commands of serving, one module a subject; `keepwell.py` lists them all.

Imports what a command needs when it runs.
"""

__all__ = [
    "company",
    "data_protection",
    "feedback",
    "keys",
    "kill_switch",
    "ledger",
    "models",
    "next_actions",
    "policies",
    "scores",
    "service",
    "webhooks",
    "whom_to_act_on",
]
