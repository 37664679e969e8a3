"""Every action and every sequence sits the same exam: readable, declared, and reachable.

Reachable: a state is built from what an action says brings it up and what it needs, and the policy
has to recommend it there. What no state can bring up is dead data.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from experiments.policy.recommend import STATE_FACTS, AccountState, Limits, PastAction, recommend
from features.alerts.rules import ALERTS
from features.catalogue.catalogue import ATTRIBUTES, FEATURES
from features.catalogue.definitions.attributes import CONTRACT_STATUS
from registry.playbook.actions import ALWAYS_OURS
from registry.playbook.condition_grammar import ActionDone, AlertOpen, ComparisonClause
from registry.playbook.playbook import load_playbook
from registry.playbook.prices import Price, PriceList

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)
BOOK = load_playbook()
ATTRIBUTE_NAMES = {attribute.name for attribute in ATTRIBUTES} | {CONTRACT_STATUS}
FEATURE_NAMES = {feature.name for feature in FEATURES}
ROOMY = Limits(actions_per_week=1000, contacts_per_week=1000, onboarding_contacts_per_week=1000)
PRICES = PriceList(
    plans={
        "starter": Price(month=10_000, next="professional"),
        "professional": Price(month=60_000, next="business"),
        "business": Price(month=120_000, next="enterprise"),
        "enterprise": Price(month=200_000),
    },
    addons={a.sells.what: Price(month=50_000) for a in BOOK.actions if a.sells is not None},
)
STAGE_FEATURES = {"onboarding": {"account_age_days": 5.0}}

every_action = pytest.mark.parametrize("action", BOOK.actions, ids=lambda action: action.id)
every_sequence = pytest.mark.parametrize("sequence", BOOK.sequences, ids=lambda s: s.id)
every_trigger = pytest.mark.parametrize(
    ("action", "trigger"),
    [
        pytest.param(action, trigger, id=f"{action.id}: {trigger.text}")
        for action in BOOK.actions
        for trigger in action.triggers
    ],
)
every_step = pytest.mark.parametrize(
    ("sequence", "number"),
    [
        pytest.param(sequence, number, id=f"{sequence.id} {number + 1} {step.action}")
        for sequence in BOOK.sequences
        for number, step in enumerate(sequence.steps)
    ],
)


def conditions_of(action):
    guards = [guard for guard in BOOK.guards if guard.concerns(action)]
    return [*action.eligibility, *(guard.condition for guard in guards)]


def holds(clause, value):
    if isinstance(clause.value, tuple):
        return (value not in clause.value) == (clause.operator == "!=")
    return {
        "<": value < clause.value,
        "<=": value <= clause.value,
        ">": value > clause.value,
        ">=": value >= clause.value,
        "==": value == clause.value,
        "!=": value != clause.value,
    }[clause.operator]


def satisfying(clauses):
    """A value that all clauses about one name accept."""
    words = [word for c in clauses if isinstance(c.value, tuple) for word in c.value]
    numbers = [c.value for c in clauses if not isinstance(c.value, tuple)]
    near = [n + d for n in numbers for d in (0, 0.01, -0.01, 1, -1)]
    pairs = [(a + b) / 2 for a in numbers for b in numbers]
    for value in [*words, "yes"] if words else [*near, *pairs]:
        if all(holds(clause, value) for clause in clauses):
            return value
    raise AssertionError(f"Nothing satisfies {clauses}.")


def days_ago(clauses):
    """How long ago an action has to have been done for all clauses about it."""
    for bound in [c.within_days for c in clauses]:
        for days in (bound - 0.5, bound + 0.5):
            if all((days < c.within_days) == c.wanted for c in clauses):
                return days
    raise AssertionError(f"Nothing satisfies {clauses}.")


def is_of_small_accounts(clauses):
    """Whether the revenue has to stay below something."""
    return any(
        c.name == "annual_revenue" and c.operator in ("<", "<=")
        for c in clauses
        if isinstance(c, ComparisonClause)
    )


def build(conditions, *, fixed=None, alerts=(), history=(), moments=None, raised=None):
    """A state in which all conditions hold, for an account with much at stake."""
    clauses = [clause for condition in conditions for clause in condition.clauses]
    values = {}
    for name in {c.name for c in clauses if isinstance(c, ComparisonClause)}:
        about = [c for c in clauses if isinstance(c, ComparisonClause) and c.name == name]
        values[name] = satisfying(about)
    values |= fixed or {}
    done = {c.action for c in clauses if isinstance(c, ActionDone)}
    past = list(history)
    for action_id in done:
        about = [c for c in clauses if isinstance(c, ActionDone) and c.action == action_id]
        if any(c.wanted for c in about):
            past.append(PastAction(action_id=action_id, at=AS_OF - timedelta(days=days_ago(about))))
    features = {k: v for k, v in values.items() if k in FEATURE_NAMES}
    if "stage" in values:
        features |= STAGE_FEATURES[values["stage"]]
    if "term_months" in values:  # without the start of a term, the months between invoices
        features["billing_months"] = values["term_months"]
    if "days_since_end" in values:
        moments = {"contract_ended": AS_OF - timedelta(days=values["days_since_end"])}
    wanted = {c.alert for c in clauses if isinstance(c, AlertOpen) and c.wanted}
    state = AccountState(
        account_id="built",
        as_of=AS_OF,
        features=features,
        attributes={
            "contract_status": "active",
            "price_plan": "starter",
            **{k: v for k, v in values.items() if k in ATTRIBUTE_NAMES},
        },
        churn_probability=values.get("churn_probability", 0.9),
        score_source="model",
        expansion_probability=values.get("expansion_probability", 0.5),
        expected_amount=20_000.0,
        mrr=values["annual_revenue"] / 12 if is_of_small_accounts(clauses) else 50_000.0,
        alerts=tuple(sorted(wanted | set(alerts))),
        moments=moments or {},
        alert_raised_at=raised or {},
        risk_tier=values.get("risk_tier"),
        renewal_tier=values.get("renewal_tier"),
        health_score=values.get("health_score"),
        consents={
            k.removeprefix("consent_"): v == "yes"
            for k, v in values.items()
            if k.startswith("consent_")
        },
    )
    return state, past


def of_audience(state, action, *, other=False):
    """The state of an account for which an action is meant, or for which it is not."""
    return replace(
        state, leaves_by="no_use" if (action.audience == "orders") != other else "contract_ends"
    )


@every_trigger
def test_an_action_is_never_seen_by_those_for_whom_it_is_not(action, trigger):
    state, past = build([trigger, *conditions_of(action)])
    answer = asked(
        of_audience(state, action, other=True), past, replace(BOOK, actions=(action,), sequences=())
    )
    seen = {one.action_id for one in (*answer.ranked, *answer.withheld)}
    assert (action.id in seen) == (action.audience == "everybody")


def asked(state, past, book):
    return recommend(state, playbook=book, limits=ROOMY, history=past, as_of=AS_OF, prices=PRICES)


@every_trigger
def test_every_trigger_brings_its_action_to_the_top_of_an_account_that_needs_it(action, trigger):
    alone = replace(BOOK, actions=(action,), sequences=())
    state, past = build([trigger, *conditions_of(action)])
    answer = asked(of_audience(state, action), past, alone)
    assert [c.action_id for c in answer.ranked] == [action.id, "do_nothing"], answer.withheld
    candidate = answer.ranked[0]
    assert candidate.because
    assert "{" not in candidate.because
    assert candidate.autonomy <= action.max_autonomy


@every_step
def test_every_step_of_every_sequence_comes_due(sequence, number):
    step = sequence.steps[number]
    action = BOOK.by_id[step.action]
    elapsed = timedelta(hours=step.after_hours) + timedelta(minutes=30)
    start = sequence.day_zero[0]
    fixed, moments, raised, alerts, history = {}, {}, {}, set(), []
    shift = timedelta(days=start.shift_days)
    if start.kind == "moment":
        moments[start.name] = AS_OF - elapsed
    elif start.kind == "age":
        fixed[start.name] = (elapsed + shift) / timedelta(days=1)
    elif start.kind == "ahead":
        fixed[start.name] = (-elapsed - shift) / timedelta(days=1)
    elif start.kind == "alert":
        alerts.add(start.name)
        raised[start.name] = AS_OF - elapsed
    elif number:
        first = sequence.steps[0]
        since = timedelta(hours=step.after_hours - first.after_hours) + timedelta(minutes=30)
        history.append(PastAction(action_id=first.action, at=AS_OF - since))
    state, past = build(
        [*sequence.applies, *step.only_if, *conditions_of(action)],
        fixed=fixed,
        alerts=alerts,
        history=history,
        moments=moments,
        raised=raised,
    )
    book = replace(BOOK, actions=(replace(action, triggers=()),), sequences=(sequence,))
    ranked = asked(state, past, book).ranked
    assert [c.action_id for c in ranked] == [action.id, "do_nothing"]
    assert ranked[0].sequence == sequence.id
    assert sequence.name in ranked[0].because
    assert ranked[0].text == (step.text or action.text)


@every_trigger
def test_with_the_whole_playbook_a_triggered_action_is_ranked_or_withheld_with_a_reason(
    action, trigger
):
    state, past = build([trigger, *conditions_of(action)])
    state = of_audience(state, action)
    answer = recommend(
        state, playbook=BOOK, limits=Limits(), history=past, as_of=AS_OF, prices=PRICES
    )
    named = [c.action_id for c in answer.ranked] + [w.action_id for w in answer.withheld]
    named += [subject.action_id for c in answer.ranked for subject in c.subjects]
    assert named.count(action.id) == 1
    assert all(w.why and w.until for w in answer.withheld)


@every_action
def test_conditions_read_what_is_declared(action):
    conditions = [*action.triggers, *action.eligibility]
    names = frozenset().union(*(c.names for c in conditions))
    assert names <= FEATURE_NAMES | ATTRIBUTE_NAMES | set(STATE_FACTS)


@every_sequence
def test_sequences_read_what_is_declared(sequence):
    conditions = [
        *sequence.applies,
        *sequence.stop,
        *(c for step in sequence.steps for c in step.only_if),
    ]
    names = frozenset().union(*(c.names for c in conditions))
    names |= {start.name for start in sequence.day_zero if start.kind in ("age", "ahead")}
    assert names <= FEATURE_NAMES | ATTRIBUTE_NAMES | set(STATE_FACTS)


def test_guards_stages_and_warning_signs_read_what_is_declared():
    conditions = [
        *(guard.condition for guard in BOOK.guards),
        *(guard.only_if for guard in BOOK.guards if guard.only_if is not None),
        *(c for stage in BOOK.stages for c in stage.conditions),
    ]
    names = frozenset().union(*(c.names for c in conditions)) | set(BOOK.alert_shows.values())
    assert names <= FEATURE_NAMES | ATTRIBUTE_NAMES | set(STATE_FACTS)


def alerts_read():
    conditions = [c for action in BOOK.actions for c in (*action.triggers, *action.eligibility)]
    conditions += [guard.condition for guard in BOOK.guards]
    for sequence in BOOK.sequences:
        conditions += [
            *sequence.applies,
            *sequence.stop,
            *(c for step in sequence.steps for c in step.only_if),
        ]
    starts = {
        start.name
        for sequence in BOOK.sequences
        for start in sequence.day_zero
        if start.kind == "alert"
    }
    return frozenset().union(*(c.alerts for c in conditions)) | starts


def test_every_alert_that_is_read_is_raised_by_a_rule_and_says_its_figure():
    declared = {rule.id for rule in ALERTS}
    assert alerts_read() <= declared
    assert set(BOOK.alert_shows) <= declared
    assert alerts_read() <= set(BOOK.alert_shows)


@every_action
def test_what_no_source_states_is_marked_as_ours(action):
    assert set(ALWAYS_OURS) <= set(action.ours)
    assert action.prior.grade == "E"
    if action.take_up != 1 or action.worth_usd:
        assert {"take_up", "worth_usd"} & set(action.ours)


@every_action
def test_the_text_is_one_or_two_plain_sentences(action):
    assert action.text.endswith((".", "?"))
    assert 20 <= len(action.text) <= 140
    assert not any(sign in action.text for sign in ("{", "_", "TBD"))


@every_action
def test_a_guess_is_never_a_large_effect(action):
    assert 0 < action.prior.mean <= 0.4
    assert action.prior.outcome != "churn" or action.prior.mean <= 0.25
    assert action.prior.strength <= 80


@every_action
def test_a_row_is_plain_json(action):
    row = action.as_row()
    assert json.loads(json.dumps(row, allow_nan=False)) == row


@every_action
def test_offers_contracts_and_the_ceo_never_go_out_by_themselves(action):
    if action.channel in ("offer", "contract") or action.owner_role == "ceo":
        assert action.max_autonomy <= 2


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.id)
def test_every_alert_brings_up_an_action_and_names_only_actions_that_there_are(rule):
    stepped = {step.action for sequence in BOOK.sequences for step in sequence.steps}
    assert set(rule.responses) <= set(BOOK.by_id)
    for response in rule.responses:
        triggers = BOOK.by_id[response].triggers
        assert any(rule.id in trigger.alerts for trigger in triggers) or response in stepped
    assert any(rule.id in trigger.alerts for action in BOOK.actions for trigger in action.triggers)
