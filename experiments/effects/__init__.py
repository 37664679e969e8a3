"""The measured effects of actions, their file, and the belief that the policy mixes from them.

Holds values; estimates nothing.
"""

__all__ = ["action_effect", "belief", "effects_file"]
