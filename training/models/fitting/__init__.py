"""Fit specs to rows of a training set, score rows by fits without their accounts, and calibrate.

What a spec learns from held-out scores (trees to grow, weights of a stack) is learned here too.
"""

__all__ = ["fit_rows", "held_out", "shares", "taking_part"]
