"""Copies of a workspace in a target: made while it serves, checked, and restored as a whole.

A target is a folder or an object storage. It holds chunks of content under the names of their hashes
and one manifest a backup, so that a backup adds what is new and never changes what is there.
"""

__all__ = [
    "encryption",
    "erasures",
    "errors",
    "make",
    "manifest",
    "restore",
    "retention",
    "target",
    "verify",
]
