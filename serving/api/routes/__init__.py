"""The addresses of the service, one module a subject.

A route translates a request into a call and an answer into its shape; it decides nothing.
"""

__all__ = [
    "accounts",
    "approvals_page",
    "catalogues",
    "claims",
    "events",
    "feedback",
    "feedback_form",
    "next_actions",
    "operator_controls",
    "pages",
    "plans",
    "status",
]
