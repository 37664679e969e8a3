"""The rules of contact: caps by channel and account, cool-downs, snoozes, and their file.

Each rule that holds an action back gives the reason and the end.
"""

__all__ = ["contact_policy", "limits_file", "quiet_hours", "snooze"]
