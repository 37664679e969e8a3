"""Replay of stored decisions: ask the policy the stored question again and compare the answers.

The policy's code is named by a digest of the text of all that it imports.
"""

__all__ = ["replay"]
