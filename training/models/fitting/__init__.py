"""Fit specs to rows of a training set, score rows by fits without their accounts, and calibrate."""

__all__ = ["fit_rows", "held_out", "shares", "taking_part"]
