"""Attributes of an account as words (segment, plan, owner), as known at a moment."""

from __future__ import annotations

from features.catalogue.feature import Attribute
from features.events.schema import CONTRACT_TERMS

_UPDATED = ("account.updated",)

ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(
        name="account_name", description="What people call the account.", reads=_UPDATED, of="name"
    ),
    Attribute(name="segment", description="Segment of the account.", reads=_UPDATED, of="segment"),
    Attribute(
        name="icp",
        description="Whether the account fits the ideal profile.",
        reads=_UPDATED,
        of="icp",
    ),
    Attribute(name="use_case", description="Main use case.", reads=_UPDATED, of="use_case"),
    Attribute(
        name="service_tier",
        description="Service level by annual revenue.",
        reads=_UPDATED,
        of="service_tier",
    ),
    Attribute(name="region", description="Region.", reads=_UPDATED, of="region"),
    Attribute(name="country", description="Country or state.", reads=_UPDATED, of="country"),
    Attribute(
        name="channel",
        description="Channel that brought the account.",
        reads=_UPDATED,
        of="channel",
    ),
    Attribute(name="industry", description="Industry.", reads=_UPDATED, of="industry"),
    Attribute(
        name="csm", description="Customer success manager in charge.", reads=_UPDATED, of="csm"
    ),
    Attribute(name="parent", description="Parent account.", reads=_UPDATED, of="parent"),
    Attribute(
        name="price_plan",
        description="Price plan of the contract.",
        reads=CONTRACT_TERMS,
        of="price_plan",
    ),
    Attribute(
        name="contract_state",
        description="State of the contract: active, paused or ended.",
        reads=(*CONTRACT_TERMS, "contract.paused", "contract.resumed", "contract.cancelled"),
        words={
            "contract.started": "active",
            "contract.changed": "active",
            "contract.renewed": "active",
            "contract.resumed": "active",
            "contract.paused": "paused",
            "contract.cancelled": "ended",
        },
    ),
    Attribute(
        name="trial_state",
        description="State of the trial: trial or over.",
        reads=("trial.started", "trial.ended"),
        words={"trial.started": "trial", "trial.ended": "over"},
    ),
)

CONTRACT_STATUS = "contract_status"
"""A column of the state of the contract, else ``trial``, else ``none``; unknown (null) for an account
without either while no source has sent a contract of anybody."""

WITHOUT_CONTRACT = ("ended", "none")
"""Its values of accounts for which no contract runs: no label asks about them, no model scores them."""
