"""The causal report of a workspace: figures, charts and text, as HTML and JSON.

A causal number is never shown without its interval and checks.
"""

__all__ = ["charts", "render", "workspace"]
