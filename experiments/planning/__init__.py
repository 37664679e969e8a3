"""Choose who does which action for which account within a team's hours and budgets.

A linear program with its bound; what waits says why.
"""

__all__ = ["infeasibility", "options", "plan", "team", "ties_by_lot"]
