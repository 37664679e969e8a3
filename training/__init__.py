"""From snapshots and labels to fitted, calibrated, judged models."""
