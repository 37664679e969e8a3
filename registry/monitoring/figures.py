"""Read what monitoring found as figures for other programs.

``keepwell monitor`` saves one document per look and label, ``<as_of>/<label>.json``, with its
figures. This module names them and reads them from the newest document of every label.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger("keepwell.monitoring")

FORMAT = 1
"""The newest version of the documents; one that states none has version 1."""

FIGURES: Mapping[str, str] = {
    "keepwell_monitoring_as_of_seconds": "The moment of the newest look at a champion.",
    "keepwell_monitoring_alarms": "What the newest look found that needs a person.",
    "keepwell_feature_drift": "Drift of features, weighted by their share of the reasons, 0 to 1.",
    "keepwell_feature_drift_limit": "The drift of features that chance seldom passes.",
    "keepwell_score_drift": "Drift of scores, 0 to 1.",
    "keepwell_score_drift_limit": "The drift of scores that chance seldom passes.",
    "keepwell_matured_outcomes": "Outcomes that have matured since the champion was trained.",
    "keepwell_observed_over_expected": "Matured outcomes that happened, over those promised.",
    "keepwell_observed_over_expected_low": "Lower end of its 95 % interval.",
    "keepwell_observed_over_expected_high": "Upper end of its 95 % interval.",
    "keepwell_estimated_log_loss": "Log loss that is expected of the newest scores.",
    "keepwell_estimate_reliable": "1 reliable, 0 not; NaN where nothing could check it.",
    "keepwell_segments_withheld": "Segments for which the champion does not answer.",
}
"""Every figure and its meaning."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number; an unknown one is left out or is NaN, never zero."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def newest_figures(folder: Path) -> tuple[Figure, ...]:
    """The figures of the newest look at each label; none before the first look.

    A document that cannot be read is logged and left out.
    """
    newest = {path.name: path for path in sorted(folder.glob("as_of_*/*.json"))}
    found: list[Figure] = []
    for path in newest.values():
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            _refuse_newer(document.get("format", 1))
            found += [Figure(name=one["name"], labels=dict(one["labels"]),
                             value=float("nan") if one["value"] is None else float(one["value"]))
                      for one in document["figures"] if one["name"] in FIGURES]  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s/%s holds no figures: %s", path.parent.name, path.name, error)
    return tuple(found)


def _refuse_newer(version: object) -> None:
    if not isinstance(version, int) or version > FORMAT:
        raise ValueError(
            f"it has format version {version!r}, of a newer Keepwell; this one reads versions up to "
            f"{FORMAT}. Use the newer Keepwell, or look again with keepwell monitor"
        )
