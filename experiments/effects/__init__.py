"""The measured effect of an action, and the file in which the policy finds it.

Holds values; estimates nothing.
"""

__all__ = ["action_effect", "effects_file", "measured"]
