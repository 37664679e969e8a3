"""This module is about the catalogue as a table that people read; the README holds it.

``python -m features.catalogue_table`` prints it; a test compares it with ``features/README.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby

from features.catalogue.catalogue import FEATURES
from features.catalogue.feature import AnyFeature, Derived


def markdown(features: Iterable[AnyFeature] = FEATURES) -> str:
    """One table a theme: name, what it is, unit, where it comes from, what silence means.

    >>> print(markdown([FEATURES[0]]).split(" | ")[-5])
    Uses of any feature, the last 24 hours.
    """
    lines: list[str] = []
    for theme, declared in groupby(features, key=lambda feature: feature.theme):
        lines += [
            f"#### {theme}",
            "",
            "| feature | what it is | unit | from | when empty | role |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_row(feature) for feature in declared] + [""]
    return "\n".join(lines).rstrip()


def _row(feature: AnyFeature) -> str:
    if isinstance(feature, Derived):
        source, empty = " ".join(f"`{name}`" for name in feature.inputs), "as its inputs"
    else:
        source = " ".join(f"`{kind}`" for kind in feature.reads)
        empty = "unknown" if feature.when_empty is None else f"{feature.when_empty:g}"
    return (
        f"| `{feature.name}` | {feature.description} | {feature.unit} | {source} | {empty} "
        f"| {feature.role} |"
    )


if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")
