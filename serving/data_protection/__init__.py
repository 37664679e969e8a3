"""What protects the data of a workspace: where they are, copies of them, and forgetting them.

Every file of a workspace is in the one list of ``places``.
"""

__all__ = ["backup", "erasure", "pending_erasures", "places"]
