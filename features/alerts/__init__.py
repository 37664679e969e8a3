"""Alert rules: which warning signs an account shows on its features, and since when.

Declared as data; what to do about a sign is the playbook's.
"""

__all__ = ["alert", "rules"]
