"""The commands about effects, tables, reports and targeting.

Imports what a command needs when it runs.
"""

__all__ = ["commands", "estimate", "lottery"]
