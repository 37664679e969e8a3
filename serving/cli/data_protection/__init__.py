"""The commands that protect the data of a workspace: copies, forgetting, and what is held about whom."""

__all__ = ["backup", "carrying_out", "erase", "export", "retention"]
