"""Fit specs to rows of a training set, score rows by fits without their accounts, and calibrate;
and the curves of retention that models are shown beside."""

__all__ = ["fit_rows", "held_out", "renewal_curves", "shares", "taking_part"]
