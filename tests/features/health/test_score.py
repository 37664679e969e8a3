from __future__ import annotations

import math

import polars as pl
import pytest
from health_of_points import health_of_points
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue.catalogue import FEATURES
from features.health.formula import (
    DEFAULT_FORMULA,
    FORMULA_FILE,
    FORMULAS,
    HealthFormulaError,
    formula_id,
    read_formulas,
)
from features.health.score import (
    health_column,
    health_scores,
    score_health,
    split_change,
    trend,
)

every_formula = pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
every_measure = pytest.mark.parametrize(
    "measure",
    [
        pytest.param(m, id=f"{f.id}-{c.name}-{m.feature}")
        for f in FORMULAS.values()
        for c in f.components
        for m in c.measures
    ],
)

DEFAULT = FORMULAS[DEFAULT_FORMULA]
EDGES = (
    0.0,
    1.0,
    -1.0,
    0.02,
    0.04,
    0.1,
    0.2,
    0.35,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    1.1,
    2.0,
    3.0,
    4.5,
    5.0,
    6.0,
    7.0,
    8.0,
    9.0,
    10.0,
    14.0,
    20.0,
    25.2,
    28.0,
    30.0,
    31.0,
    90.0,
)
values = st.one_of(
    st.none(),
    st.just(math.nan),
    st.sampled_from(EDGES),
    st.sampled_from(EDGES).map(lambda edge: math.nextafter(edge, math.inf)),
    st.sampled_from(EDGES).map(lambda edge: math.nextafter(edge, -math.inf)),
    st.floats(min_value=-2, max_value=120, allow_nan=False),
)


def accounts(formula):
    return st.fixed_dictionaries(dict.fromkeys(formula.inputs, values))


def scored(points: float):
    """A health score of exactly so many points by the default formula."""
    return health_of_points(DEFAULT, {c.name: points for c in DEFAULT.components})


FIRST_FORMULAS = ["adoption_led", "usage_led", "balanced", "goal_led"]


def test_the_four_formulas_of_the_sources_are_there():
    assert set(FORMULAS) >= set(FIRST_FORMULAS)
    assert DEFAULT_FORMULA == "balanced"


def test_a_formula_is_still_found_by_the_number_it_had():
    assert [formula_id(f"00{number}") for number in range(1, 5)] == FIRST_FORMULAS
    with pytest.raises(HealthFormulaError, match="no health formula '005'"):
        formula_id("005")


def test_stored_versions_are_the_same_as_before_formulas_had_names():
    assert {name: FORMULAS[name].version for name in FIRST_FORMULAS} == {
        "adoption_led": "001-35c40b08",
        "usage_led": "002-11cfb956",
        "balanced": "003-b15b1a8d",
        "goal_led": "004-f144f4ff",
    }


@every_formula
def test_weights_add_up_to_one_hundred(formula):
    assert sum(component.weight for component in formula.components) == 100


@every_formula
def test_formulas_read_declared_features(formula):
    assert set(formula.inputs) <= {feature.name for feature in FEATURES}


@pytest.mark.parametrize(
    ("formula", "weights"),
    [
        ("adoption_led", {None: 100}),
        ("usage_led", {"usage": 60, "engagement": 30, "business": 10}),
        ("balanced", {None: 100}),
        ("goal_led", {"engagement": 30, "success": 30, "satisfaction": 20, "financial": 20}),
    ],
)
def test_groups_have_the_weights_of_their_source(formula, weights):
    found = dict.fromkeys(weights, 0.0)
    for component in FORMULAS[formula].components:
        found[component.group] += component.weight
    assert found == weights


@pytest.mark.parametrize(
    ("formula", "weights"),
    [
        ("adoption_led", [25, 15, 15, 10, 15, 10, 10]),
        ("usage_led", [25, 20, 15, 15, 10, 5, 5, 3, 2]),
        ("balanced", [40, 30, 20, 10, 0]),
        ("goal_led", [7.5] * 8 + [5] * 8),
    ],
)
def test_parts_have_their_weights(formula, weights):
    assert [component.weight for component in FORMULAS[formula].components] == weights


@every_formula
def test_every_part_names_its_source_and_what_is_ours(formula):
    for component in formula.components:
        assert component.source, component.name
        if component.measures:
            assert component.ours, component.name


@every_measure
def test_every_measure_can_be_read_out(measure):
    said = measure.phrase.format(value=3.0)
    assert "{" not in said
    assert "3" in said


@every_measure
def test_every_measure_reaches_both_ends(measure):
    points = {points for _, points in measure.knots}
    assert min(points) == 0
    assert max(points) in (50, 100)  # 50: an account that never used anything has no full points


@pytest.mark.parametrize(
    ("days", "points"),
    [
        (0, 100),
        (7, 100),
        (math.nextafter(7, 8), 50),
        (8, 50),
        (30, 50),
        (math.nextafter(30, 31), 0),
        (31, 0),
        (400, 0),
        (math.inf, 0),
    ],
)
def test_usage_is_weekly_monthly_or_none_in_thirty_days(days, points):
    part = score_health(DEFAULT, {"days_since_activity": float(days)}).components[0]
    assert (part.name, part.points) == ("usage", points)
    assert part.measure == f"last active {days:.0f} days ago"


@pytest.mark.parametrize(("age", "points"), [(None, None), (30.0, None), (30.5, 0), (300.0, 0)])
def test_never_active_is_a_fact_only_after_thirty_days(age, points):
    features = {"days_since_activity": None, "active_days_28d": 0.0, "account_age_days": age}
    assert score_health(DEFAULT, features).components[0].points == points


@pytest.mark.parametrize(
    ("answer", "points"), [(0, 0), (6, 0), (6.9, 0), (7, 50), (8, 50), (9, 100), (10, 100)]
)
def test_satisfaction_is_detractor_passive_or_promoter(answer, points):
    part = score_health(DEFAULT, {"nps_last": float(answer), "csat_last": 3.0}).components[2]
    assert part.points == points
    assert part.feature == "nps_last"


@pytest.mark.parametrize(("rating", "points"), [(1, 0), (2, 0), (3, 40), (4, 80), (4.5, 100)])
def test_without_a_recommendation_the_latest_rating_counts(rating, points):
    part = score_health(DEFAULT, {"nps_last": None, "csat_last": float(rating)}).components[2]
    assert part.points == pytest.approx(points, abs=1e-12)  # 0.4 * 100 is not a whole number
    assert part.feature == "csat_last"


@pytest.mark.parametrize(
    ("overdue", "failed", "points"),
    [
        (0, 0, 100),
        (5, 0, 100),
        (5.01, 0, 0),
        (40, 0, 0),
        (1, 1, 0),  # failed and still open: no grace
        (0, 2, 100),  # failed once, paid since
        (None, 0, None),
        (None, 3, None),
        (3, None, 100),
    ],
)
def test_payment_is_all_or_nothing_with_five_days_of_grace(overdue, failed, points):
    features = {"invoice_days_overdue": overdue, "invoices_failed_90d": failed}
    assert score_health(DEFAULT, features).components[3].points == points


@pytest.mark.parametrize(("depth", "points"), [(0, 0), (0.25, 25), (0.5, 50), (1, 100)])
def test_engagement_is_depth_of_use(depth, points):
    part = score_health(DEFAULT, {"adoption_depth_28d": float(depth)}).components[1]
    assert part.points == points


def test_open_tickets_are_shown_and_not_summed():
    good = {"days_since_activity": 1.0, "adoption_depth_28d": 1.0, "nps_last": 9.0}
    quiet = score_health(DEFAULT, {**good, "tickets_open": 0.0})
    loud = score_health(DEFAULT, {**good, "tickets_open": 9.0})
    assert quiet.score == loud.score == 100
    assert loud.components[-1].points == 0
    assert loud.components[-1].measure == "9 open tickets"
    assert "support_tickets" not in score_health(DEFAULT, good).unknown


@pytest.mark.parametrize(
    ("points", "band", "action"),
    [
        (100, "healthy", "look for expansion"),
        (80, "healthy", "look for expansion"),
        (math.nextafter(80, 0), "neutral", "monitor, engage"),
        (79.5, "neutral", "monitor, engage"),
        (60, "neutral", "monitor, engage"),
        (59.999, "at risk", "proactive outreach"),
        (40, "at risk", "proactive outreach"),
        (39.999, "critical", "intervene"),
        (0, "critical", "intervene"),
    ],
)
def test_bands_cut_the_unrounded_score_lower_edge_inclusive(points, band, action):
    found = DEFAULT.band(points)
    assert (found.name, found.action) == (band, action)


@pytest.mark.parametrize(
    ("points", "band"),
    [
        (80.0, "healthy"),
        (79.5, "neutral"),
        (60.0, "neutral"),
        (40.0, "at risk"),
        (39.5, "critical"),
    ],
)
def test_a_score_on_an_edge_is_in_the_band_that_starts_there(points, band):
    health = scored(points)
    assert health.score == points
    assert health.band == band


@pytest.mark.parametrize(
    ("points", "band"),
    [(100, "green"), (70, "green"), (69.999, "yellow"), (40, "yellow"), (39.999, "red")],
)
def test_seventy_is_not_medium(points, band):
    assert FORMULAS["usage_led"].band(points).name == band


def test_an_unknown_part_leaves_the_sum_and_is_listed():
    health = score_health(
        DEFAULT,
        {"days_since_activity": 3.0, "adoption_depth_28d": 0.5, "invoice_days_overdue": 0.0},
    )
    assert health.score == (40 * 100 + 30 * 50 + 10 * 100) / 80
    assert health.unknown == ("satisfaction",)
    assert health.known_weight == 80
    assert health.explanation == (
        "Health 81 of 100, healthy, by the formula balanced on 80 of 100 points of weight; not known: "
        "satisfaction."
    )
    assert health.components[2].measure == "not known: no satisfaction known as of this moment"
    assert health.components[0].lost == 0
    assert health.components[1].lost == 15
    assert health.components[2].lost is None


@pytest.mark.parametrize(
    ("known", "score"),
    [
        (("days_since_activity",), None),  # 40
        (("adoption_depth_28d", "nps_last"), 0.0),  # exactly 50
        (("adoption_depth_28d", "invoice_days_overdue"), None),  # 40
    ],
)
def test_under_fifty_points_of_known_weight_there_is_no_score(known, score):
    zero = {
        "days_since_activity": 99.0,
        "adoption_depth_28d": 0.0,
        "nps_last": 0.0,
        "invoice_days_overdue": 99.0,
    }
    health = score_health(DEFAULT, {name: zero[name] for name in known})
    assert health.score == score
    assert (health.band is None) == (score is None)
    assert (health.action is None) == (score is None)


def test_no_score_is_explained():
    health = score_health(DEFAULT, {})
    assert health.explanation == (
        "Not enough data: 0 of 100 points of weight are known, 50 are needed; not known: usage, "
        "engagement, satisfaction, payment."
    )


def test_a_part_without_a_feature_says_why():
    part = {c.name: c for c in score_health(FORMULAS["goal_led"], {}).components}["time_to_value"]
    assert part.measure == (
        "not known: no feature measures the days from the start to the first goal reached"
    )


def test_a_ratio_over_nothing_is_unknown():
    part = FORMULAS["usage_led"].component("daily_active_rate").measures[0]
    assert part.value({"daily_users_28d": 3.0, "seats": 5.0}) == 0.6
    assert part.value({"daily_users_28d": 3.0, "seats": 0.0}) is None
    assert part.value({"daily_users_28d": 3.0, "seats": None}) is None


@pytest.mark.parametrize("formula_id", FORMULAS)
def test_one_account_and_a_column_get_the_same_score(formula_id):
    formula = FORMULAS[formula_id]

    @given(rows=st.lists(accounts(formula), min_size=1, max_size=12))
    def agree(rows):
        frame = pl.DataFrame(rows, schema=dict.fromkeys(formula.inputs, pl.Float64))
        column = health_scores(frame, formula).to_list()
        for row, by_column in zip(rows, column, strict=True):
            alone = score_health(formula, row).score
            if alone is None or by_column is None:
                assert alone is by_column is None
            else:
                assert by_column == pytest.approx(alone, rel=0, abs=1e-12)  # same order of sums

    agree()


@pytest.mark.parametrize("formula_id", FORMULAS)
def test_a_worse_input_never_raises_the_score(formula_id):
    formula = FORMULAS[formula_id]
    guards = {m.only_if[0] for c in formula.components for m in c.measures if m.only_if}
    guards |= {m.over for c in formula.components for m in c.measures if m.over}
    better = {
        m.feature: m.knots[0][1] < m.knots[-1][1] for c in formula.components for m in c.measures
    }
    # below its first step an answer is none at all, and that is no worse answer
    lowest = {
        m.feature: m.knots[0][0]
        for c in formula.components
        for m in c.measures
        if m.shape == "at_least"
    }

    @given(
        features=accounts(formula),
        name=st.sampled_from(sorted(set(better) - guards)),
        pair=st.tuples(*[st.one_of(st.sampled_from(EDGES), st.floats(-2, 120))] * 2),
    )
    def falls(features, name, pair):
        # What is divided by counts something, so it is never negative.
        features = {k: abs(v) if k in guards and v is not None else v for k, v in features.items()}
        low, high = sorted(max(value, lowest.get(name, value)) for value in pair)
        worse, good = (low, high) if better[name] else (high, low)
        before = score_health(formula, {**features, name: good}).score
        after = score_health(formula, {**features, name: worse}).score
        assert (before is None) == (after is None)
        assert before is None or after <= before + 1e-9  # rounding of one division

    falls()


def test_longer_overdue_never_raises_the_score_of_a_failed_payment():
    points = [
        score_health(DEFAULT, {"invoice_days_overdue": days, "invoices_failed_90d": 1.0})
        .components[3]
        .points
        for days in (0.0, 0.5, 5.0, 6.0, 90.0)
    ]
    assert points == [100, 0, 0, 0, 0]


@given(features=accounts(DEFAULT))
def test_a_score_lies_between_its_worst_and_its_best_part(features):
    health = score_health(DEFAULT, features)
    points = [c.points for c in health.components if c.points is not None and c.weight]
    assert health.known_weight == sum(
        c.weight for c in health.components if c.name not in health.unknown
    )
    if health.score is not None:
        assert min(points) - 1e-9 <= health.score <= max(points) + 1e-9  # rounding of one division


def test_a_frame_without_a_feature_has_it_unknown():
    frame = pl.DataFrame({"days_since_activity": [1.0, 60.0], "adoption_depth_28d": [1.0, 0.0]})
    assert health_column(frame, DEFAULT).to_list() == [100.0, 0.0]
    assert health_column(frame.select("days_since_activity"), DEFAULT).to_list() == [None, None]
    assert health_column(frame.clear(), DEFAULT).to_list() == []


@pytest.mark.parametrize(
    ("before", "now", "direction"),
    [
        (50, 53, "stable"),
        (50, 53.01, "improving"),
        (50, 47, "stable"),
        (50, 46.99, "declining"),
        (50, 50, "stable"),
    ],
)
def test_a_trend_is_a_change_of_more_than_three_points(before, now, direction):
    assert trend(scored(before), scored(now)) == direction


def test_a_trend_needs_two_scores_of_one_formula_version():
    now = scored(50)
    other = health_of_points(
        FORMULAS["adoption_led"], {"adoption": 90, "stickiness": 90, "errors": 90}
    )
    assert trend(None, now) == "unknown"
    assert trend(other, now) == "unknown"
    assert trend(score_health(DEFAULT, {}), now) == "unknown"
    assert trend(now, score_health(DEFAULT, {})) == "unknown"


@given(before=accounts(DEFAULT), after=accounts(DEFAULT))
def test_moves_add_up_to_the_change(before, after):
    first, second = score_health(DEFAULT, before), score_health(DEFAULT, after)
    change = (second.score or 0.0) - (first.score or 0.0)
    assert sum(points for _, points in split_change(first, second)) == pytest.approx(
        change, abs=1e-9
    )


def test_moves_name_the_part_that_moved_most():
    first = score_health(DEFAULT, {"days_since_activity": 1.0, "adoption_depth_28d": 0.7})
    second = score_health(DEFAULT, {"days_since_activity": 9.0, "adoption_depth_28d": 0.6})
    assert [name for name, _ in split_change(first, second)] == ["usage", "engagement"]


def test_moves_between_formula_versions_are_refused():
    other = score_health(FORMULAS["adoption_led"], {})
    with pytest.raises(HealthFormulaError, match="cannot be compared part by part"):
        split_change(other, scored(50))


def test_a_version_changes_with_what_decides_a_score_and_not_with_wording():
    text = FORMULA_FILE.read_text(encoding="utf-8")
    reworded = read_formulas(text.replace("last active {value:.0f} days ago", "{value:.0f} d"))
    assert reworded["balanced"].version == DEFAULT.version
    changed = read_formulas(text.replace("[[7.0, 100], [30.0, 50]", "[[6.0, 100], [30.0, 50]"))
    assert changed["balanced"].version != DEFAULT.version
    assert changed["adoption_led"].version == FORMULAS["adoption_led"].version


ONE = """
[[formula]]
id = "x"
title = "One part"
source = "x:1"
ours = []
    [[formula.band]]
    lowest = 0
    name = "any"
    action = "none"
    [[formula.component]]
    name = "part"
    weight = 100
    source = "x:2"
    ours = []
        [[formula.component.measure]]
        feature = "mrr"
        unit = "money"
        phrase = "{value}"
        line = [[0, 0], [1, 100]]
"""


def test_the_smallest_formula_reads():
    assert score_health(read_formulas(ONE)["x"], {"mrr": 0.25}).score == 25


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (
            "weight = 100",
            "weight = 99",
            "weights of health formula 'x' add to 99; they must add to",
        ),
        ("lowest = 0", "lowest = 1", r"start at \[1.0\]; they must fall and end at 0"),
        ("weight = 100", "weight = true", "`weight` has to be a number, not True"),
        ("line = [[0, 0], [1, 100]]", "", "needs exactly one of line, at_least, at_most"),
        ("line = [[0, 0], [1, 100]]", "line = [[0, 0, 1]]", "has to be a list of pairs"),
        ("line = [[0, 0], [1, 100]]", "line = [[1, 0], [0, 100]]", "needs rising values"),
        (
            "line = [[0, 0], [1, 100]]",
            "line = [[0, 0], [1, 90], [2, 80]]",
            "only rise or only fall",
        ),
        ("line = [[0, 0], [1, 100]]", "line = [[0, 0], [1, 101]]", "points outside 0 to 100"),
        ("line = [[0, 0], [1, 100]]", "at_most = [[0, 100], [9, 0]]", "end at_most with inf"),
        ('unit = "money"', 'units = "money"', r"unknown key\(s\) units"),
        ('unit = "money"', 'unit = ""', "`unit` has to be text, not ''"),
        ("weight = 100", 'weight = 100\ncombine = "mean"', "allowed are first, worst"),
        ("weight = 100", 'weight = 100\nunknown = "why"', "needs either measures or, in 'unknown'"),
        ('source = "x:2"\n    ours = []', 'source = "x:2"', "lacks `ours`"),
        ('id = "x"', "", "health formula None lacks `id`. Add it"),
        ("weight = 100", "", "part 'part' of health formula 'x' lacks `weight`"),
        ("lowest = 0", "", "band 'any' of health formula 'x' lacks `lowest`"),
        ("lowest = 0", "lowest = 0\ncolour = 1", r"'any' of .* has unknown key\(s\) colour"),
        ("[[formula]]", "[other]", r"formulas\.toml has unknown key\(s\) other"),
        ('unit = "money"', 'unit = "money"\nonly_if = "mrr"', "`only_if` has to be a table"),
        (
            'unit = "money"',
            'unit = "money"\nonly_if = { feature = "mrr" }',
            "`only_if` of measure 'mrr' .* lacks `above`",
        ),
        ("line = [[0, 0], [1, 100]]", "line = []", "has to be a list of pairs"),
        ("[[formula.band]]", "[formula.band]", "`band` has to be a list of tables"),
    ],
)
def test_a_formula_that_does_not_hold_together_is_refused(old, new, match):
    assert old in ONE
    with pytest.raises(HealthFormulaError, match=match):
        read_formulas(ONE.replace(old, new))


def test_a_file_without_formulas_is_refused():
    with pytest.raises(HealthFormulaError, match="lacks `formula`"):
        read_formulas("")
