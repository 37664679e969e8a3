"""The reasons of a score: what each theme adds, which themes earn a place, and their words.

A theme is one player of a Shapley game; its facts are the evidence under it.
"""

__all__ = ["at_renewal", "choice", "facts", "in_words"]
