"""Folders whose content is hashed, signatures over them, and documents that hold a digest of themselves.

What was changed on disk is refused when it is read.
"""

__all__ = ["hashed_folder", "sealed_document", "signing"]
