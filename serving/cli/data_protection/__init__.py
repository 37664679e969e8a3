"""The commands that protect the data of a workspace: copies of it, and putting them back."""

__all__ = ["backup"]
