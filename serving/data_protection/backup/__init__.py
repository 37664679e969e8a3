"""Back up a workspace to a target while it is served, check backups, and restore one as a whole.

A target is a folder or an object storage. It holds chunks of content, each under its hash, and one manifest
for each backup. So a backup only adds new chunks and changes nothing that is there.
"""

__all__ = [
    "encryption",
    "erasures",
    "errors",
    "keep_newest",
    "make",
    "manifest",
    "restore",
    "target",
    "verify",
]
