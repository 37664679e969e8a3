"""The tables of features in ``features.md``, made from the catalogue by ``generate.py``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from features.catalogue.catalogue import FEATURES
from features.catalogue.feature import AnyFeature, Derived

PAGE = """\
# Features

{number} features over {themes} themes. Each of a product's own feature names (`use_names` in the
mapping) adds two: its uses in 28 and in 90 days. How to add one:
[add a feature](../how-to/add-a-feature.md).

- **From** names the kinds of event that a feature reads, or the features that it is made of.
- **When empty** is the value where no event lies in the window. A feature is unknown, whatever this
  column says, while no source has ever sent any kind that it reads.
- **Role**: a *signal* is read by the model; a *lever* can be moved by an action; *context* is never
  offered as a reason to act.

`keepwell features` prints this list for a workspace, with its own feature names; `--json` is for
programs. `python docs/reference/generate.py` writes this page.

{tables}
"""


def markdown(features: Iterable[AnyFeature] = FEATURES) -> str:
    """One table a theme: name, what it is, unit, where it comes from, what silence means.

    >>> print(markdown([FEATURES[0]]).split(" | ")[-5])
    Uses of any feature, the last 24 hours.
    """
    lines: list[str] = []
    for theme, declared in groupby(features, key=lambda feature: feature.theme):
        lines += [
            f"## {theme}",
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


def page() -> str:
    """The whole page, with every feature of the catalogue."""
    return PAGE.format(
        number=len(FEATURES), tables=markdown(), themes=len({feature.theme for feature in FEATURES})
    )
