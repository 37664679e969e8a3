"""Alert rules: which warning signs an account shows on its features, and since when.

Declared as data, which a company may change; what to do about a sign is the playbook's.
"""

__all__ = ["alert", "rule_set", "rules"]
