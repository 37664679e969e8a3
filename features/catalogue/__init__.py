"""The catalogue: every feature that is declared, and how a declaration is made.

The compute plan, Feast's schema, the words of the service and the documents are derived from it.
"""

__all__ = ["catalogue", "definitions", "feature", "own_features", "parts", "themes"]
