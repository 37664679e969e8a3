"""The commands about events and features, and the options that all commands share.

A command imports its modules when it runs.
"""

__all__ = ["commands", "init", "log_lines", "options", "terminal"]
