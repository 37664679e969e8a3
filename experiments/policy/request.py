"""The inputs of one recommendation as a value that can be stored and replayed.

``PolicyInputs`` is everything that the answer depends on, except the playbook (which has a
fingerprint) and the words of figures and warning signs. Written to JSON and read back it gives the
same ranking with the same numbers, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from math import isnan
from typing import Any, cast, get_args

from experiments.effects.belief import NO_EFFECTS, MeasuredEffects
from experiments.effects.effects_file import effect_from, effects_document
from experiments.policy.account_state import (
    AccountState,
    Limits,
    PastAction,
    PastOutcome,
    PolicyError,
    ScoreSource,
)
from experiments.policy.contact.contact_policy import quiet_period_of
from experiments.policy.contact.quiet_hours import QuietPeriod, quiet_period_at
from experiments.policy.contact.snooze import Snooze
from experiments.policy.derived_values import DerivedValues
from experiments.policy.exploration import AccountChance
from experiments.policy.recommend import recommend, rule_against
from experiments.policy.recommendation import Recommendation
from experiments.policy.withholding import Refusal
from experiments.randomisation.holdout import HoldoutStatus
from experiments.randomisation.keyed_draw import Exploration
from registry.playbook.playbook import Playbook
from registry.playbook.prices import NO_PRICES, PriceList

VERSION = 6
"""Version of the stored form; a newer one is refused, because it may hold unknown fields. The first
had no snoozes, those before the third no ``asked_at`` (such a question is judged at its ``as_of``,
as it was then), those before the fourth no prices, those before the fifth no chance to leave at the
renewal, and those before the sixth not how accounts leave."""

VERSIONS = (1, 2, 3, 4, 5, VERSION)

SINCE_THE_FIFTH = ("renewal_probability", "renewal_tier")
SINCE_THE_SIXTH = ("leaves_by",)
"""What the state of an older question does not have."""


@dataclass(frozen=True, kw_only=True)
class PolicyInputs:
    """One account with its past actions, snoozes, limits, evidence and draws, at a moment.

    Moments are in UTC: ``as_of`` in the time of the data, ``asked_at`` in actual time, which
    decides about snoozes and quiet hours (None: ``as_of`` does). Of ``evidence`` only the effects
    that concern the account are stored.
    """

    state: AccountState
    limits: Limits
    history: tuple[PastAction, ...]
    as_of: datetime
    evidence: MeasuredEffects = NO_EFFECTS
    chance: AccountChance | None = None
    standing: HoldoutStatus | None = None
    put_off: tuple[Snooze, ...] = ()
    asked_at: datetime | None = None
    prices: PriceList = NO_PRICES

    @property
    def quiet_until_of(self) -> datetime | None:
        """The end of the account's quiet hours; None outside of them."""
        rest = quiet_period_of(self.state, self.limits, self.asked_at or self.as_of)
        return None if rest is None else rest.until

    def answer(
        self,
        playbook: Playbook,
        *,
        phrases: Mapping[str, str] | None = None,
        alert_words: Mapping[str, str] | None = None,
    ) -> Recommendation:
        """The recommendation of the policy."""
        return recommend(
            self.state,
            playbook=playbook,
            limits=self.limits,
            history=self.history,
            as_of=self.as_of,
            evidence=self.evidence,
            chance=self.chance,
            standing=self.standing,
            put_off=self.put_off,
            asked_at=self.asked_at,
            prices=self.prices,
            phrases=phrases,
            alert_words=alert_words,
        )

    def rule_against(
        self,
        action_id: str,
        playbook: Playbook,
        *,
        phrases: Mapping[str, str] | None = None,
        alert_words: Mapping[str, str] | None = None,
    ) -> Refusal | None:
        """The rule that holds back an action that was decided on before, if any."""
        return rule_against(
            action_id,
            self.state,
            playbook=playbook,
            limits=self.limits,
            history=self.history,
            as_of=self.as_of,
            asked_at=self.asked_at,
            evidence=self.evidence,
            standing=self.standing,
            put_off=self.put_off,
            prices=self.prices,
            phrases=phrases,
            alert_words=alert_words,
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; what is not a number is null, as the policy reads it."""
        return {
            "version": VERSION,
            "as_of": self.as_of.isoformat(),
            "asked_at": None if self.asked_at is None else self.asked_at.isoformat(),
            "state": {name: _plain(value) for name, value in vars(self.state).items()},
            "limits": {name: _plain(value) for name, value in vars(self.limits).items()},
            "history": [
                {name: _plain(value) for name, value in vars(past).items()} for past in self.history
            ],
            "put_off": [
                {name: _plain(value) for name, value in vars(one).items()} for one in self.put_off
            ],
            "evidence": _evidence_for(self.evidence, self.state.attributes),
            "chance": None
            if self.chance is None
            else {name: _plain(value) for name, value in asdict(self.chance).items()},
            "standing": None if self.standing is None else self.standing.to_dict(),
            "prices": _PRICES.of(self.prices),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> PolicyInputs:
        """The question that was stored.

        Raises:
            PolicyError: it cannot be read; the message names the place.
        """
        with _reading(stored):
            return _read(stored)


def stored_quiet_period(stored: Mapping[str, Any], moment: datetime) -> QuietPeriod | None:
    """The quiet hours that the account of a stored question is in at another moment.

    Only the zone and the hours of the question are read, to save time.

    Raises:
        PolicyError: they cannot be read.
    """
    with _reading(stored):
        limits, hours = stored["limits"], stored["limits"]["quiet_hours"]
        known = Limits(
            time_zone=stored["state"]["time_zone"] or limits["time_zone"],
            quiet_hours=None if hours is None else tuple(hours),
        )
        return quiet_period_at(moment, known.time_zone, known.quiet_hours)


@contextmanager
def _reading(stored: Mapping[str, Any]) -> Iterator[None]:
    """Turn errors of reading a stored question into PolicyError.

    Raises:
        PolicyError: its version is not known, or it was changed.
    """
    version = stored.get("version")
    if version not in VERSIONS:
        raise PolicyError(
            f"The stored question has version {version!r}; this Keepwell reads "
            f"{', '.join(map(str, VERSIONS))}. Replay it with the Keepwell "
            f"that wrote it."
        )
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise PolicyError(
            f"The stored question cannot be read ({type(exc).__name__}: {exc}). "
            f"It was not written by this Keepwell, or was changed."
        ) from exc


def _read(stored: Mapping[str, Any]) -> PolicyInputs:
    lacking = dict.fromkeys(SINCE_THE_SIXTH) if stored["version"] < 6 else {}
    lacking |= dict.fromkeys(SINCE_THE_FIFTH) if stored["version"] < 5 else {}
    state = _known(AccountState, {**lacking, **stored["state"]})
    limits = _known(Limits, stored["limits"])
    for name in ("alert_raised_at", "moments"):
        state[name] = {key: datetime.fromisoformat(at) for key, at in state[name].items()}
    if state["score_source"] not in get_args(ScoreSource):
        raise PolicyError(
            f"The score source {state['score_source']!r} is none of "
            f"{', '.join(get_args(ScoreSource))}."
        )
    quiet = limits["quiet_hours"]
    evidence = stored["evidence"]
    chance, standing = stored["chance"], stored["standing"]
    return PolicyInputs(
        as_of=datetime.fromisoformat(stored["as_of"]),
        asked_at=_asked_at(stored),
        state=AccountState(
            **{
                **state,
                "as_of": datetime.fromisoformat(state["as_of"]),
                "alerts": tuple(state["alerts"]),
            }
        ),
        limits=Limits(
            **{
                **limits,
                "workday": tuple(limits["workday"]),
                "quiet_hours": None if quiet is None else tuple(quiet),
            }
        ),
        history=tuple(_past(each) for each in stored["history"]),
        evidence=MeasuredEffects(
            effects=tuple(
                effect_from(row, f"stored effect number {number}")
                for number, row in enumerate(evidence["effects"], 1)
            ),
            segment_attribute=evidence["segment_attribute"],
            problem=evidence["problem"],
        ),
        chance=None
        if chance is None
        else AccountChance(
            **{
                **_known(AccountChance, chance),
                "exploration": Exploration(
                    **{
                        **_known(Exploration, chance["exploration"]),
                        "off": tuple(chance["exploration"]["off"]),
                    }
                ),
            }
        ),
        standing=None
        if standing is None
        else HoldoutStatus(
            **{
                **_known(HoldoutStatus, standing),
                "until": datetime.fromisoformat(standing["until"]) if standing["until"] else None,
            }
        ),
        put_off=tuple(
            _put_off(each) for each in (() if stored["version"] == 1 else stored["put_off"])
        ),
        prices=NO_PRICES if stored["version"] < 4 else PriceList.from_dict(stored["prices"]),
    )


def _asked_at(stored: Mapping[str, Any]) -> datetime | None:
    asked_at = stored["asked_at"] if stored["version"] >= 3 else None
    return None if asked_at is None else datetime.fromisoformat(asked_at)


def _past(row: Mapping[str, Any]) -> PastAction:
    values = _known(PastAction, row)
    if values["outcome"] not in (None, *get_args(PastOutcome)):
        raise PolicyError(
            f"The outcome {values['outcome']!r} of a past action is none of "
            f"{', '.join(get_args(PastOutcome))}."
        )
    return PastAction(**{**values, "at": datetime.fromisoformat(values["at"])})


def _put_off(row: Mapping[str, Any]) -> Snooze:
    values = _known(Snooze, row)
    return Snooze(
        **{
            **values,
            "until": datetime.fromisoformat(values["until"]),
            "at": datetime.fromisoformat(values["at"]),
        }
    )


def _known(kind: type, row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a value; a missing or an unknown field is an error."""
    names = {field.name for field in fields(kind)}
    if names != row.keys():
        wrong = ", ".join(sorted(names ^ row.keys()))
        raise PolicyError(f"{kind.__name__} lacks or does not know: {wrong}.")
    return dict(row)


def _evidence_for(
    evidence: MeasuredEffects, attributes: Mapping[str, str | None]
) -> dict[str, object]:
    """The effects that concern an account, as plain values: made once for all accounts of a segment."""
    known = _EVIDENCE.of(evidence)
    segment = attributes.get(evidence.segment_attribute)
    if segment not in known:
        known[segment] = {
            **effects_document(evidence.for_account(attributes)),
            "problem": evidence.problem,
        }
    return known[segment]


def _none_yet(_: MeasuredEffects) -> dict[str | None, dict[str, object]]:
    return {}


_PRICES = DerivedValues(PriceList.to_dict)
"""The stored form of a price list."""

_EVIDENCE = DerivedValues(_none_yet)
"""The stored form of evidence, by segment."""


def _plain(value: object) -> object:
    if type(value) is float:  # most of them
        return value if value == value else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and isnan(value):
        return None
    if isinstance(value, Mapping):  # most values are floats: tested here to save calls
        return {
            str(key): inner
            if (type(inner) is float and inner == inner) or inner is None or type(inner) is str
            else _plain(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in cast("Iterable[object]", value)]
    return value
