"""Turn scores into answers of the API, one function a shape."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from experiments.effects.belief import Belief
from experiments.policy.recommend import DO_NOTHING, Candidate, Recommendation
from serving.api.schemas.accounts import ACCOUNT_ANSWER, AccountAnswer, AccountRow
from serving.api.schemas.decisions import (
    BeliefAnswer,
    CandidateAnswer,
    HoldoutInfo,
    LotInfo,
    RecommendationAnswer,
    SubjectAnswer,
    WithheldAnswer,
)
from serving.api.schemas.families import (
    FamilyAnswer,
    FamilyFigureAnswer,
    FamilyMemberAnswer,
    ParentAnswer,
)
from serving.api.schemas.outlooks import (
    GrowthAnswer,
    OutlookAnswer,
    RenewalAnswer,
    TouchedLabelsAnswer,
    UntouchedAnswer,
)
from serving.api.schemas.scores import (
    EvidenceAnswer,
    FreshnessAnswer,
    HealthAnswer,
    HealthPartAnswer,
    ProbabilityAnswer,
    ReasonAnswer,
    ReasonRecordAnswer,
    ReasonsAnswer,
    ScoreAnswer,
)
from serving.ledger.autonomy import SUGGESTED
from serving.ledger.ledger import Decision
from serving.problems import UnknownHorizonError
from serving.recommendations.recommend import ProposedDecision
from serving.scoring.account_families import Family
from serving.scoring.explanations import Reason, Reasons
from serving.scoring.outlooks import (
    RenewalOutlook,
    growth_by_renewal,
    other_outlooks,
    renewal_outlook,
    untreated_outlook,
)
from serving.scoring.portfolio import Portfolio
from serving.scoring.score import (
    TIER_HORIZON_DAYS,
    AccountScore,
    HorizonProbability,
    SourceFreshness,
)
from serving.text_format import spoken

SECONDS_PER_HOUR = 3600
MOST_CHILDREN = 100


def account_row(score: AccountScore) -> AccountRow:
    """An account as a row of the list."""
    at_90 = score.churn_at(TIER_HORIZON_DAYS)
    foremost = score.reasons.foremost
    words = score.attributes
    return AccountRow(
        account_id=score.account_id,
        name=words.get("account_name"),
        as_of=score.as_of,
        segment=words.get("segment"),
        price_plan=words.get("price_plan"),
        service_tier=words.get("service_tier"),
        csm=words.get("csm"),
        contract_status=words.get("contract_status"),
        churn_probability_90d=at_90.probability if at_90 else None,
        churn_probability_90d_low=at_90.low if at_90 else None,
        churn_probability_90d_high=at_90.high if at_90 else None,
        expansion_probability_90d=score.expansion.probability if score.expansion else None,
        risk_tier=score.risk_tier,
        health_score=score.health.score,
        level=score.health.band,
        source=score.source,
        degraded=score.degraded,
        model_version=score.model_version,
        mrr=score.mrr,
        revenue_at_risk=score.revenue_at_risk,
        expected_expansion=score.expected_expansion,
        currency=score.currency,
        top_reason=foremost.sentence if foremost else None,
    )


def account_answer(
    score: AccountScore,
    portfolio: Portfolio,
    family: Family | None,
    at_renewal: Reasons | None,
) -> AccountAnswer:
    """All that is known of one account; ``at_renewal`` are the reasons of that chance."""
    outlooks: dict[str, Any] = {
        name: OutlookAnswer(probability=_given(outlook.at), note=outlook.note)
        for name, outlook in other_outlooks(score).items()
    }
    return ACCOUNT_ANSWER(
        account_id=score.account_id,
        name=score.attributes.get("account_name"),
        as_of=score.as_of,
        source=score.source,
        degraded=score.degraded,
        model_version=score.model_version,
        churn=[probability_answer(h) for h in score.churn],
        risk_if_untouched=untouched_answer(score, portfolio),
        expansion=probability_answer(score.expansion) if score.expansion else None,
        expansion_by_horizon=[growth_answer(score, at) for at in score.growth],
        expansion_note=score.expansion_note,
        **outlooks,
        renewal=renewal_answer(renewal_outlook(score), score.renewal_tier),
        renewal_reasons=None if at_renewal is None else reasons_answer(at_renewal),
        renewal_expansion=renewal_answer(growth_by_renewal(score)),
        risk_tier=score.risk_tier,
        mrr=score.mrr,
        revenue_at_risk=score.revenue_at_risk,
        revenue_at_risk_low=score.revenue_at_risk_low,
        revenue_at_risk_high=score.revenue_at_risk_high,
        expected_expansion=score.expected_expansion,
        expected_expansion_low=score.expected_expansion_low,
        expected_expansion_high=score.expected_expansion_high,
        currency=score.currency,
        health=health_answer(score),
        reasons=reasons_answer(score.reasons),
        expansion_reasons=(
            reasons_answer(score.expansion_reasons) if score.expansion_reasons else None
        ),
        parent=parent_answer(score, portfolio),
        family=family_answer(family, score.currency) if family else None,
        attributes=dict(score.attributes),
        features=dict(score.features),
        freshness=freshness_answer(portfolio.freshness, portfolio.now),
    )


def untouched_answer(score: AccountScore, portfolio: Portfolio) -> UntouchedAnswer:
    """The risk if nobody acts."""
    found = untreated_outlook(score, portfolio.models)
    return UntouchedAnswer(
        probabilities=[probability_answer(h) for h in found.at],
        note=found.note,
        not_known=dict(found.not_known),
        assumption=found.assumption,
        touched_labels=[
            TouchedLabelsAnswer(
                horizon_days=horizon,
                labels=share.rows,
                touched=share.treated,
                share=share.share,
                with_outcome=share.with_outcome,
                touched_with_outcome=share.treated_with_outcome,
                actions=dict(share.actions),
            )
            for horizon, share in sorted(found.touched.items())
        ],
    )


def growth_answer(score: AccountScore, at: HorizonProbability) -> GrowthAnswer:
    """The chance to expand within a horizon, and what it comes to a year."""
    rise = score.expected_growth(at)
    return GrowthAnswer(
        horizon_days=at.horizon_days,
        probability=at.probability,
        low=at.low,
        high=at.high,
        base_rate=at.base_rate,
        expected_expansion=rise.expected,
        expected_expansion_low=rise.low,
        expected_expansion_high=rise.high,
    )


def renewal_answer(found: RenewalOutlook, tier: str | None = None) -> RenewalAnswer:
    """What comes of the account by its coming renewal; ``tier`` is the band of its chance to leave."""
    return RenewalAnswer(
        days_to_renewal=found.days_to_renewal,
        probability=_given(found.at),
        risk_tier=tier,
        note=found.note,
    )


def _given(at: HorizonProbability | None) -> ProbabilityAnswer | None:
    return None if at is None else probability_answer(at)


def parent_answer(score: AccountScore, portfolio: Portfolio) -> ParentAnswer | None:
    """The account's parent; None where it has none, or where the link closes a circle."""
    parent = portfolio.families.parent_of.get(score.account_id)
    if parent is None:
        return None
    known = portfolio.by_id.get(parent)
    return ParentAnswer(
        account_id=parent,
        is_scored=known is not None,
        name=known.attributes.get("account_name") if known else None,
    )


def family_answer(family: Family, currency: str) -> FamilyAnswer:
    """What a parent and all below it come to."""
    worst = family.children[:MOST_CHILDREN]
    return FamilyAnswer(
        account_id=family.account_id,
        as_of=family.as_of,
        oldest_as_of=family.oldest_as_of,
        accounts=family.accounts,
        children=len(family.children),
        worst_children=[
            FamilyMemberAnswer(
                account_id=child.account_id,
                name=child.attributes.get("account_name"),
                as_of=child.as_of,
                health_score=child.health.score,
                level=child.health.band,
                risk_tier=child.risk_tier,
                source=child.source,
                mrr=child.mrr,
                active_users_28d=child.features.get("active_users_28d"),
                tickets_28d=child.features.get("tickets_28d"),
            )
            for child in worst
        ],
        formula=next((child.formula for child in worst), None),
        figures=[
            FamilyFigureAnswer(
                feature=f.feature,
                description=f.description,
                unit=f.unit,
                value=f.value,
                at_least=f.at_least,
                at_most=f.at_most,
                how=f.how,
                known_of=f.known_of,
            )
            for f in family.figures
        ],
        features=dict(family.features),
        currency=currency,
    )


def score_answer(score: AccountScore, portfolio: Portfolio, horizon_days: int) -> ScoreAnswer:
    """The score of one account at one horizon.

    Raises:
        UnknownHorizonError: that horizon is not served; the message lists those that are.
    """
    at = score.churn_at(horizon_days)
    if at is None:
        served = ", ".join(str(h.horizon_days) for h in score.churn)
        raise UnknownHorizonError(
            f"There is no churn probability for {horizon_days} days. Served horizons: {served} "
            f"days."
        )
    return ScoreAnswer(
        account_id=score.account_id,
        as_of=score.as_of,
        horizon_days=horizon_days,
        churn_probability=at.probability,
        churn_probability_low=at.low,
        churn_probability_high=at.high,
        base_rate=at.base_rate,
        risk_tier=score.risk_tier,
        expansion_probability_90d=score.expansion.probability if score.expansion else None,
        expected_expansion=score.expected_expansion,
        health_score=score.health.score,
        health_level=score.health.band,
        source=score.source,
        degraded=score.degraded,
        model_version=score.model_version,
        formula=score.formula,
        mrr=score.mrr,
        revenue_at_risk=score.revenue_at_risk,
        revenue_at_risk_low=score.revenue_at_risk_low,
        revenue_at_risk_high=score.revenue_at_risk_high,
        currency=score.currency,
        reasons=reasons_answer(score.reasons),
        freshness=freshness_answer(portfolio.freshness, portfolio.now),
    )


def probability_answer(at: HorizonProbability) -> ProbabilityAnswer:
    """A probability within a horizon."""
    return ProbabilityAnswer(
        horizon_days=at.horizon_days,
        probability=at.probability,
        low=at.low,
        high=at.high,
        base_rate=at.base_rate,
        extended_from_days=at.extended_from,
    )


def health_answer(score: AccountScore) -> HealthAnswer:
    """The health score with its parts."""
    health = score.health
    return HealthAnswer(
        formula=score.formula,
        score=health.score,
        level=health.band,
        action=health.action,
        components=[
            HealthPartAnswer(
                name=part.name, weight=part.weight, points=part.points, measure=spoken(part.measure)
            )
            for part in health.components
        ],
        unknown=list(health.unknown),
    )


def reasons_answer(reasons: Reasons) -> ReasonsAnswer:
    """The three lists."""
    return ReasonsAnswer(
        signals=[_reason(r) for r in reasons.signals],
        levers=[_reason(r) for r in reasons.levers],
        context=[_reason(r) for r in reasons.context],
        start=reasons.start,
        rest=reasons.rest,
        others=reasons.others,
    )


def freshness_answer(freshness: Sequence[SourceFreshness], now: datetime) -> list[FreshnessAnswer]:
    """How fresh each source is at a moment."""
    return [
        FreshnessAnswer(
            kind=source.kind,
            last_recorded_at=source.last_recorded_at,
            age_hours=round((now - source.last_recorded_at).total_seconds() / SECONDS_PER_HOUR, 2),
        )
        for source in freshness
    ]


def _reason(reason: Reason) -> ReasonAnswer:
    return ReasonAnswer(
        text=reason.text,
        comparison=reason.comparison,
        feature=reason.feature,
        theme=reason.theme,
        title=reason.title,
        value=reason.value,
        unit=reason.unit,
        points=reason.points,
        points_unit=reason.points_unit,
        also=list(reason.also),
        evidence=[
            EvidenceAnswer(
                text=one.text,
                comparison=one.comparison,
                feature=one.feature,
                value=one.value,
                unit=one.unit,
                points=one.points,
            )
            for one in reason.evidence
        ],
        record=(
            None
            if reason.record is None
            else ReasonRecordAnswer(
                accounts=reason.record.accounts,
                came=reason.record.came,
                expected=reason.record.expected,
            )
        ),
    )


ONLY_SUGGESTED = (
    "The ledger of decisions cannot be reached, so this is a suggestion for a "
    "person and no decision: nothing was stored, and no program may carry it out."
)


def recommendation_answer(
    decided: ProposedDecision, stored: Decision | None, *, most: int
) -> RecommendationAnswer:
    """A recommendation with its best actions; doing nothing is always among them.

    Without a stored decision it is a suggestion.
    """
    decision, answer, score = stored or decided.decision, decided.recommendation, decided.score
    shown = list(answer.ranked[:most])
    shown += [c for c in answer.ranked[most:] if c.action_id == DO_NOTHING]
    return RecommendationAnswer(
        decision_id=None if stored is None else decision.decision_id,
        valid_until=None if stored is None else decision.valid_until,
        autonomy=min(SUGGESTED if stored is None else 4, decision.autonomy or 0),
        account_id=decision.account_id,
        as_of=decision.as_of,
        decided_at=decision.decided_at,
        action=decision.action,
        expected_value=decision.expected_value,
        currency=decision.currency,
        propensity=decision.propensity,
        lot=_lot(answer),
        holdout=_holdout(answer),
        dropped={str(stage): count for stage, count in answer.dropped.items()},
        look_again_on=answer.look_again_on,
        look_again_why=answer.look_again_why,
        source=score.source,
        degraded=score.degraded,
        ranked=[_candidate(c) for c in shown],
        withheld=[
            WithheldAnswer(
                action=w.action_id,
                name=w.name,
                stage=w.stage,
                reason=w.reason,
                why=spoken(w.why),
                allowed_from=w.allowed_from,
                until=w.until,
            )
            for w in answer.withheld
        ],
        notes=[*answer.notes, *([] if stored is not None else [ONLY_SUGGESTED])],
    )


def _lot(answer: Recommendation) -> LotInfo | None:
    lot = answer.lot
    return (
        None
        if lot is None
        else LotInfo(
            lottery_id=lot.lottery_id, key_id=lot.key_id, of=list(lot.of), drawn=list(lot.drawn)
        )
    )


def _holdout(answer: Recommendation) -> HoldoutInfo | None:
    at = answer.standing
    return (
        None
        if at is None or answer.otherwise is None
        else HoldoutInfo(
            is_held_out=at.is_held_out,
            until=at.until,
            lottery_id=at.lottery_id,
            key_id=at.key_id,
            otherwise=answer.otherwise,
        )
    )


def _candidate(candidate: Candidate) -> CandidateAnswer:
    value = candidate.value
    return CandidateAnswer(
        action=candidate.action_id,
        name=candidate.name,
        text=candidate.text,
        why=spoken(candidate.because),
        objective=candidate.objective,
        channel=candidate.channel,
        owner_role=candidate.owner_role,
        expected_value=candidate.expected_value,
        cautious_value=candidate.cautious_value,
        uplift=value.uplift,
        at_stake=value.at_stake,
        margin=value.margin,
        benefit=value.benefit,
        cost=value.total_cost,
        hours=value.hours,
        hours_cost=value.hours_cost,
        contacts_28d=value.contacts_28d,
        fatigue=value.fatigue,
        belief=_belief(value.belief),
        evidence_grade=candidate.grade,
        evidence=candidate.evidence,
        playbook_share=candidate.playbook_share,
        deadline=candidate.deadline,
        max_autonomy=candidate.autonomy,
        sequence=candidate.sequence,
        look_first=list(candidate.look_first),
        basis=candidate.basis,
        basis_why=candidate.basis_why,
        subjects=[
            SubjectAnswer(
                action=one.action_id, name=one.name, text=one.text, why=spoken(one.because)
            )
            for one in candidate.subjects
        ],
    )


def _belief(belief: Belief | None) -> BeliefAnswer | None:
    if belief is None:
        return None
    return BeliefAnswer(
        effect=belief.mean,
        effect_low=belief.low,
        effect_high=belief.high,
        playbook_share=belief.playbook_share,
        data_share=belief.data_share,
        n=belief.n,
        effective_n=belief.effective_n,
        strength=belief.strength,
        measured=belief.measured,
        measured_low=belief.measured_low,
        measured_high=belief.measured_high,
        measured_grade=belief.measured_grade,
        measured_from=belief.measured_from,
        measured_to=belief.measured_to,
        segment=belief.segment,
        source=belief.source,
    )
