"""The page of a model card: the card of one version as a person reads it.

A card is Markdown that the training wrote. It may show pictures that the same run stored; a tag in
a segment's name stays text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup

from serving.pages.frame import Frame
from serving.pages.markdown import render_markdown
from serving.scoring.models_served import SERVED_LABELS

CARD = "model_card.md"
HEADING = re.compile(r"(#{1,4}) (.+)")
PICTURE = re.compile(r"plots/[a-z_0-9]+\.png")


@dataclass(frozen=True, kw_only=True)
class ModelCardPage:
    """The card of one version as a page."""

    frame: Frame
    heading: str
    content: Markup


def model_card_page(card: str, *, label: str, version: int, tenant: str) -> ModelCardPage:
    """The page of a card.

    Args:
        card: the Markdown that the training wrote.
        label: of the model.
        version: of the model.
        tenant: whose it is.
    """
    opening, _, rest = card.strip().partition("\n")
    found = HEADING.fullmatch(opening)
    title = f"{label}, version {version}" if found is None else f"{found[2]}, version {version}"
    return ModelCardPage(
        frame=Frame(
            title=f"Model card of {label}, version {version}", section="models", tenant=tenant
        ),
        heading=title,
        content=render_markdown(
            rest if found else card,
            picture=lambda source: picture_address(label, version, source),
        ),
    )


def card_address(label: str, version: int) -> str:
    """Where the card of a version is.

    >>> card_address("churn", 3)
    '/models/churn/3'
    """
    return f"/models/{label}/{version}"


def is_served_label(label: str) -> bool:
    """Whether there may be models of this name."""
    return label in SERVED_LABELS


def picture_address(label: str, version: int, source: str) -> str | None:
    """Where a picture of a card is: one that the same run stored, and no other."""
    found = PICTURE.fullmatch(source)
    return None if found is None else f"{card_address(label, version)}/{source}"
