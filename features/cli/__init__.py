"""The commands about events and features, and the options that all commands share.

Imports what a command needs when it runs.
"""

__all__ = ["commands", "options"]
