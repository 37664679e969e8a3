"""Score trees and explain their scores exactly (path-dependent SHAP), from plain arrays.

Checks the structure of trees before they are used; parses no model text.
"""

__all__ = ["arrays", "batch_scoring", "numba_cache", "owen", "shap", "shap_batch", "structure"]
