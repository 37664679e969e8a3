"""Ask the policy: for one account, for a snapshot, for a plan, and again at a claim.

Also what another policy would have chosen on the decisions in the ledger.
"""

__all__ = [
    "candidate_policy",
    "claim_recheck",
    "feedback_evaluation",
    "learned_later",
    "logged_decisions",
    "plans",
    "recommend",
    "rules_preview",
    "snapshot",
    "whom_next",
]
