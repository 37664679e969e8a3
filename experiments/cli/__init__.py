"""The commands about effects, reports and targeting.

Imports what a command needs when it runs.
"""

__all__ = ["commands"]
