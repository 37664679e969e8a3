"""The pages that people read: portfolio, account, approvals, models, reports.

Plain HTML that works without JavaScript.
"""

__all__ = [
    "account_page",
    "approvals_page",
    "degraded_notices",
    "developer_pages",
    "frame",
    "help_page",
    "model_card_page",
    "models_page",
    "portfolio_page",
    "views",
]
