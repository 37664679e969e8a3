"""Folders whose content is hashed, and signatures over them.

What was changed on disk is refused when it is read.
"""

__all__ = ["hashed_folder", "signing"]
