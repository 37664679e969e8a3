"""Health formulas: a score of 0 to 100 from features by stated rules that can be checked by hand.

The formulas are data, in `formulas.toml`.
"""

__all__ = ["formula", "formula_text", "parts", "score"]
