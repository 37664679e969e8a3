"""Find the candidate actions of an account: triggers, due steps of sequences, deadlines.

Each candidate comes with the sentence that explains it.
"""

__all__ = [
    "conversations",
    "look_again",
    "priorities",
    "proposals",
    "sentences",
    "sequence_steps",
    "triggers",
]
