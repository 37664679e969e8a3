"""Compare today's data and outcomes with those a model was trained on.

Reports whether to retrain, and withholds a model from segments where it was clearly worse.
"""

__all__ = ["workspace"]
