"""Turn an answer of the policy into a decision that is stored, and the settings that decide.

Limits, effects, the plan, reports and the playbook are read again when their files change.
"""

__all__ = [
    "company_rules",
    "decision_record",
    "exploration_settings",
    "live_effects",
    "live_limits",
    "saved_plan",
    "saved_reports",
    "validated_playbook",
]
