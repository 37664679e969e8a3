"""The forms of model that compete: LightGBM, a logistic regression, the formula prior.

Fit, calibrate, and compare them on one split. The only home of LightGBM and Dask.
"""

__all__ = [
    "binned_rows",
    "boosting",
    "calibration",
    "dask",
    "fit",
    "fitting",
    "long_horizons",
    "model_selection",
    "renewal_risk",
    "specs",
    "tuning",
    "untreated_risk",
]
