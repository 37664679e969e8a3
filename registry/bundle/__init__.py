"""The model bundle: all that serving needs of a model, without pickle.

Trees or a linear form, calibration, feature contract, reference distribution and golden rows.
"""

__all__ = [
    "bundle",
    "calibration",
    "feature_contract",
    "format",
    "linear",
    "long_horizons",
    "metadata",
    "model_forms",
    "renewal_risk",
    "segment_gate",
    "untreated_risk",
]
