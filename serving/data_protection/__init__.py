"""What protects the data of a workspace: where they are, copies, forgetting, and how long what is kept.

Every file of a workspace is in the one list of ``places``.
"""

__all__ = ["backup", "erasure", "pending_erasures", "places", "retention"]
