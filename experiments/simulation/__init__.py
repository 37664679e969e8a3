"""A simulated company with known truth: for tests, demonstrations and nothing else.

The product never imports it.
"""

__all__ = ["cli", "ground_truth", "settings", "world"]
