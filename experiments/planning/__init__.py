"""Choose who does which action for which account within a team's hours and budgets.

A linear programme with its bound; each offer outside the plan has a reason.
"""

__all__ = ["infeasibility", "options", "plan", "team", "ties_by_lot"]
