"""Compare today's data and outcomes with those a model was trained on.

Says whether to retrain, and withholds a model from a segment that matured outcomes speak against.
"""

__all__ = ["workspace"]
