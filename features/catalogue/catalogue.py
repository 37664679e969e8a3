"""Every declared feature, in one literal list.

The list is written out: no feature registers itself when a module is imported. A tenant's own
product features (``use_names``) get two counts each, and those that it declares follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from features.catalogue.definitions import MONTH, QUARTER
from features.catalogue.definitions.adoption import ADOPTION
from features.catalogue.definitions.attributes import ATTRIBUTES
from features.catalogue.definitions.billing import BILLING
from features.catalogue.definitions.contract import CONTRACT
from features.catalogue.definitions.interventions import INTERVENTIONS
from features.catalogue.definitions.onboarding import ONBOARDING
from features.catalogue.definitions.orders import ORDERS
from features.catalogue.definitions.reliability import RELIABILITY
from features.catalogue.definitions.sentiment import SENTIMENT
from features.catalogue.definitions.sponsor import SPONSOR
from features.catalogue.definitions.stickiness import STICKINESS
from features.catalogue.definitions.support import SUPPORT
from features.catalogue.feature import (
    Aggregate,
    AnyFeature,
    Attribute,
    Derived,
    Expression,
    Feature,
)
from features.catalogue.own_features import read_own_features

FEATURES: tuple[AnyFeature, ...] = (
    *ADOPTION,
    *STICKINESS,
    *RELIABILITY,
    *SUPPORT,
    *SENTIMENT,
    *SPONSOR,
    *BILLING,
    *ORDERS,
    *CONTRACT,
    *ONBOARDING,
    *INTERVENTIONS,
)

HEALTH_SCORE = "health_score"
"""Column of the default formula's score. Models are compared with it; it is never their input."""


class CatalogueError(Exception):
    """The declarations contradict each other, or a feature is not declared."""


@dataclass(frozen=True)
class Catalogue:
    """Features and attributes, checked against each other.

    Raises:
        CatalogueError: a name twice, or a derived feature that reads what is not declared.
    """

    features: tuple[AnyFeature, ...]
    attributes: tuple[Attribute, ...] = ATTRIBUTES

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        names += [attribute.name for attribute in self.attributes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise CatalogueError(f"Declared twice: {', '.join(twice)}. Rename one of each.")
        known = {feature.name for feature in self.features}
        for feature in self.features:
            if isinstance(feature, Derived) and not known.issuperset(feature.inputs):
                missing = sorted(set(feature.inputs) - known)
                raise CatalogueError(
                    f"Feature {feature.name!r} reads {', '.join(missing)}, which "
                    f"no module in features/definitions declares."
                )
        _ = self.derived_in_steps

    @cached_property
    def primitives(self) -> tuple[Feature, ...]:
        """The features that the sweep computes from events."""
        return tuple(f for f in self.features if isinstance(f, Feature))

    @cached_property
    def expressions(self) -> tuple[Expression, ...]:
        """The features that are an expression over the events of a window."""
        return tuple(f for f in self.features if isinstance(f, Expression))

    @cached_property
    def derived_in_steps(self) -> tuple[tuple[Derived, ...], ...]:
        """The derived features in steps: each reads only features of earlier steps."""
        ready = {f.name for f in self.features if not isinstance(f, Derived)}
        waiting = [f for f in self.features if isinstance(f, Derived)]
        steps: list[tuple[Derived, ...]] = []
        while waiting:
            now = tuple(f for f in waiting if ready.issuperset(f.inputs))
            if not now:
                circle = ", ".join(f.name for f in waiting)
                raise CatalogueError(f"These features read each other in a circle: {circle}.")
            steps.append(now)
            ready.update(f.name for f in now)
            waiting = [f for f in waiting if f not in now]
        return tuple(steps)

    def derived_in_order(self) -> tuple[Derived, ...]:
        """The derived features, each after those it reads."""
        return tuple(derived for step in self.derived_in_steps for derived in step)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in the order of the catalogue."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def by_name(self) -> Mapping[str, AnyFeature]:
        """Feature name to its declaration."""
        return {feature.name: feature for feature in self.features}

    @cached_property
    def phrases(self) -> Mapping[str, str]:
        """Feature name to the phrase with its value."""
        return {feature.name: feature.phrase for feature in self.features}

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """Feature name to the digest of its declaration; a model's contract keeps them."""
        return {feature.name: feature.digest for feature in self.features}

    @cached_property
    def kinds_read(self) -> frozenset[str]:
        """The event kinds that any feature or attribute reads."""
        read = [
            *(f.reads for f in self.primitives),
            *(f.reads for f in self.expressions),
            *(a.reads for a in self.attributes),
        ]
        return frozenset(kind for kinds in read for kind in kinds)

    def feature(self, name: str) -> AnyFeature:
        """The declaration by this name.

        Raises:
            CatalogueError: there is none.
        """
        for feature in self.features:
            if feature.name == name:
                return feature
        raise CatalogueError(f"There is no feature {name!r}; `keepwell features` lists them.")


def declare_use_features(use_names: Iterable[str]) -> tuple[Feature, ...]:
    """Two counts for each of the product's own feature names, 28 and 90 days.

    More use is read as a good sign by everybody, so it is declared as one: what a model has learned
    the other way round is never told as a reason.
    """
    features = []
    for name in use_names:
        word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        for lookback in (MONTH, QUARTER):
            days = lookback.days
            features.append(
                Feature(
                    name=f"use_{word}_count_{days}d",
                    description=f"Uses of {name!r} in {days} days.",
                    theme="adoption",
                    reads=("feature.used",),
                    where={"name": name},
                    aggregate=Aggregate(operation="count"),
                    lookback=lookback,
                    when_empty=0.0,
                    unit="uses",
                    direction="safety",
                    phrase=f"{name.replace('_', ' ')} used {{value:,.0f}} times in the last {days} "
                    f"days",
                )
            )
    return tuple(features)


@cache
def load_catalogue(use_names: tuple[str, ...] = (), own_features: str = "") -> Catalogue:
    """The whole catalogue of a tenant whose product has these feature names.

    ``own_features`` is the text of its ``features.toml`` ("": it has none).

    Raises:
        OwnFeatureError: that text cannot be used.
    """
    shipped = (*FEATURES, *declare_use_features(use_names))
    own = read_own_features(own_features, {feature.name for feature in shipped})
    return Catalogue(features=(*shipped, *own))
