"""The commands about training, back-tests, audits and models.

Imports what a command needs when it runs.
"""

__all__ = ["check", "commands", "health"]
