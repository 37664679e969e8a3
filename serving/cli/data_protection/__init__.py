"""Commands that protect the data of a workspace: backup and restore, erasure, export, retention."""

__all__ = ["backup", "erase", "export", "retention", "run_erasure"]
