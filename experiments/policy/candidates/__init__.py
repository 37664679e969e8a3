"""Find the actions that come up for an account: triggers, due steps of sequences, deadlines.

Each candidate comes with the sentence that says why.
"""

__all__ = ["sentences", "sequence_steps", "triggers"]
