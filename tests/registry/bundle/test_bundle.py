from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.bundle.bundle import BundleError, GoldenRows, HorizonError, ModelBundle
from registry.bundle.calibration import Calibration, Unseen
from registry.bundle.feature_contract import FeatureContract
from registry.bundle.model_forms import TreeForm
from registry.integrity.hashed_folder import MANIFEST
from registry.trees.arrays import TreeArrays


@pytest.fixture(params=["trees", "linear", "with a floor"])
def bundle(request, tree_model, linear_model):
    if request.param != "with a floor":
        return tree_model if request.param == "trees" else linear_model
    curve = linear_model.calibration
    unseen = Unseen(chance=0.2, most=0.4, draws=np.linspace(0.1, 0.4, len(curve.draws)))
    return replace(linear_model, calibration=replace(curve, unseen=unseen))


def rows_of(bundle, n=50, seed=1):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, len(bundle.contract.features)))
    rows[rng.random(rows.shape) < 0.3] = np.nan
    return rows


def test_a_frame_a_mapping_and_a_matrix_are_scored_alike(bundle):
    rows = rows_of(bundle)
    frame = pl.DataFrame(rows[:, ::-1], schema=bundle.contract.names[::-1])
    expected = bundle.probability(rows, 60)
    assert (bundle.probability(frame, 60) == expected).all()
    assert bundle.probability(frame.row(3, named=True), 60)[0] == expected[3]


def test_the_probability_is_the_calibrated_score(bundle):
    rows = rows_of(bundle)
    expected = bundle.calibration.probability(bundle.form.score(rows), 60)
    assert (bundle.probability(rows, 60) == expected).all()
    low, high = bundle.probability_interval(rows, 60)
    assert ((low <= expected) & (expected <= high)).all()
    assert (low < high).all()


def test_the_probability_never_falls_with_the_horizon(bundle):
    rows = rows_of(bundle)
    p = np.array([bundle.probability(rows, h) for h in bundle.horizons])
    assert (np.diff(p, axis=0) >= 0).all()


def test_a_raw_score_that_is_known_is_what_all_is_made_of(bundle):
    rows = rows_of(bundle)
    raw = bundle.raw(rows)
    for known, asked in ((raw, rows), (raw + 0.5, None)):
        at_60 = bundle.calibration.probability(known, 60)
        assert (bundle.probability(rows, 60, raw=known) == at_60).all()
        low, _ = bundle.probability_interval(rows, 60, raw=known)
        assert (low == bundle.calibration.probability_interval(known, 60)[0]).all()
        assert (bundle.explain(rows, 60, raw=known).probability == at_60).all()
        if asked is not None:
            assert (bundle.points(rows, 60, raw=known)[0] == bundle.points(asked, 60)[0]).all()


def test_contributions_sum_to_the_score(bundle):
    values, base = bundle.contributions(rows_of(bundle))
    gap = values.sum(axis=1) + base - bundle.raw(rows_of(bundle))
    assert np.abs(gap).max() <= 1e-12  # sums of a few numbers of size one


@given(seed=st.integers(0, 10_000), horizon=st.sampled_from([30, 60, 90]),
       slope=st.floats(1e-3, 20), shift=st.floats(-30, 30))  # fmt: skip
@pytest.mark.parametrize("kind", ["trees", "linear"])
def test_points_sum_to_the_shown_probability(
    tree_model, linear_model, kind, seed, horizon, slope, shift
):
    bundle = tree_model if kind == "trees" else linear_model
    intercepts = tuple(a + shift for a in bundle.calibration.intercepts)
    bundle = replace(
        bundle, calibration=replace(bundle.calibration, slope=slope, intercepts=intercepts)
    )
    rows = rows_of(bundle, n=8, seed=seed)
    points, base = bundle.points(rows, horizon)
    shown = bundle.probability(rows, horizon)
    assert np.abs(points.sum(axis=1) + base - shown).max() <= 1e-9
    assert 0 <= base <= 1


@pytest.mark.parametrize("distance", [0.0, 1e-15, 1e-12, 9e-7, 1.1e-6, 1e-3, 1.0, 40.0])
def test_points_sum_at_any_distance_from_the_base(linear_model, distance):
    """Two large contributions that almost cancel: the score is as near to the base as wanted."""
    form = linear_model.form
    row = form.center.copy()[None, :]
    logged = form.signed_log > 0
    row[0, logged] = np.sign(row[0, logged]) * np.expm1(np.abs(row[0, logged]))
    quiet = replace(form, missing_rate=np.zeros(5), lower=np.full(5, -np.inf),
                    signed_log=np.zeros(5), coefficient=np.ones(5), scale=np.ones(5))  # fmt: skip
    row = form.center[None, :] + np.array([[1.0, -1.0, distance, 0.0, 0.0]])
    bundle = replace(
        linear_model, form=quiet, golden=GoldenRows(matrix=row, raw=quiet.score(row)),
    )  # fmt: skip
    points, base = bundle.points(row, 90)
    assert points.sum() + base == pytest.approx(bundle.probability(row, 90)[0], abs=1e-12)
    slope = 0.8 * base * (1 - base)
    if 0 < distance < 1e-4:
        assert points[0, 0] == pytest.approx(slope, rel=1e-3)
        assert points[0, 2] == pytest.approx(slope * distance, rel=1e-3)


def test_a_contribution_keeps_its_sign_and_share_in_points(bundle):
    explanation = bundle.explain(rows_of(bundle), 90)
    assert (np.sign(explanation.points) == np.sign(explanation.contributions)).all()
    shares = explanation.points / explanation.points.sum(axis=1, keepdims=True)
    theirs = explanation.contributions / explanation.contributions.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, theirs, rtol=1e-9)
    line = bundle.calibration.intercept(90) + 0.8 * explanation.base
    unseen = bundle.calibration.unseen
    odds = np.exp(line) if unseen is None else np.hypot(np.exp(line), 0.2 / 0.8)
    assert explanation.base_probability == pytest.approx(odds / (1 + odds))


def test_base_rates_are_per_horizon(bundle):
    assert bundle.base_rate(60) == 0.04


@pytest.mark.parametrize("ask", ["probability", "probability_interval", "points"])
def test_a_horizon_that_is_not_estimable_says_why(tree_model, ask):
    with pytest.raises(HorizonError, match=r"churn within 365 days is not estimable: The data end"):
        getattr(tree_model, ask)(rows_of(tree_model), 365)
    with pytest.raises(HorizonError, match="not estimable"):
        tree_model.base_rate(365)


def test_a_horizon_nobody_trained_is_refused(tree_model):
    with pytest.raises(HorizonError, match="no probability at 45 days; it has 30, 60, 90"):
        tree_model.probability(rows_of(tree_model), 45)


@pytest.mark.parametrize("shape", [(3, 2), (7,)])
def test_a_matrix_of_another_shape_is_refused(bundle, shape):
    with pytest.raises(BundleError, match=r"make it with contract\.matrix"):
        bundle.raw(np.zeros(shape))


# ── saving and loading ─────────────────────────────────────────────────────────────────────────


def test_a_loaded_bundle_gives_identical_floats(bundle, tmp_path):
    bundle.save(tmp_path / "b")
    loaded = ModelBundle.load(tmp_path / "b")
    rows = rows_of(bundle)
    for horizon in bundle.horizons:
        one, two = bundle.explain(rows, horizon), loaded.explain(rows, horizon)
        assert (one.probability == two.probability).all()
        assert (one.points == two.points).all()
        low, high = bundle.probability_interval(rows, horizon)
        loaded_low, loaded_high = loaded.probability_interval(rows, horizon)
        assert (low == loaded_low).all()
        assert (high == loaded_high).all()


def test_everything_else_is_loaded_too(bundle, tmp_path):
    bundle.save(tmp_path / "b")
    loaded = ModelBundle.load(tmp_path / "b")
    for name in ("label", "contract", "base_rates", "metadata", "metrics", "amount_ratio",
                 "not_estimable", "model_text", "fingerprint"):  # fmt: skip
        assert getattr(loaded, name) == getattr(bundle, name), name
    np.testing.assert_array_equal(loaded.reference.values, bundle.reference.values)
    np.testing.assert_array_equal(loaded.reference.missing_rate, bundle.reference.missing_rate)


def test_the_same_model_is_the_same_bytes(make_tree_bundle, tmp_path):
    make_tree_bundle().save(tmp_path / "a")
    ModelBundle.load(tmp_path / "a").save(tmp_path / "b")
    make_tree_bundle().save(tmp_path / "c")
    names = {file.name for file in (tmp_path / "a").iterdir()}
    assert names == {"bundle.json", "arrays.npz", "model.txt", MANIFEST}
    for name in names:
        first = (tmp_path / "a" / name).read_bytes()
        assert first == (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()


def test_the_fingerprint_is_the_manifests_and_sees_a_change(tree_model, tmp_path):
    tree_model.save(tmp_path / "a")
    manifest = (tmp_path / "a" / MANIFEST).read_bytes()
    assert tree_model.fingerprint == hashlib.sha256(manifest).hexdigest()
    other = replace(tree_model, metadata=replace(tree_model.metadata, data_fingerprint="other"))
    assert other.fingerprint != tree_model.fingerprint


def test_the_order_in_which_metrics_were_computed_is_no_difference(tree_model):
    metrics = dict(reversed(tree_model.metrics.items()))
    assert replace(tree_model, metrics=metrics).fingerprint == tree_model.fingerprint


def test_another_bundle_is_not_written_over(tree_model, linear_model, tmp_path):
    tree_model.save(tmp_path / "b")
    tree_model.save(tmp_path / "b")
    with pytest.raises(BundleError, match="already holds something else"):
        linear_model.save(tmp_path / "b")


def reseal(folder, name, content):
    """Alter a file and mend the manifest, as someone would who wants to be believed."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def edit_json(folder, change):
    document = json.loads((folder / "bundle.json").read_text())
    change(document)
    reseal(folder, "bundle.json", json.dumps(document).encode())


def edit_arrays(folder, change):
    with np.load(folder / "arrays.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    change(arrays)
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    reseal(folder, "arrays.npz", packed.getvalue())


def put(key, value):
    return lambda document: document.__setitem__(key, value)


def scaled(name, factor):
    return lambda arrays: arrays.__setitem__(name, arrays[name] * factor)


def unlist(folder, name):
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"][name]
    (folder / MANIFEST).write_text(json.dumps(manifest))


DAMAGE = {
    "a truncated file": (
        lambda f: (f / "arrays.npz").write_bytes((f / "arrays.npz").read_bytes()[:-1]),
        "truncated or altered. Train the model again, or roll back",
    ),
    "a missing file": (lambda f: (f / "model.txt").unlink(), "lacks its file 'model.txt'"),
    "arrays that are not listed": (lambda f: unlist(f, "arrays.npz"), r"lists no arrays\.npz"),
    "a document that is not listed": (lambda f: unlist(f, "bundle.json"), r"lists no bundle\.json"),
    "arrays that are no archive": (
        lambda f: reseal(f, "arrays.npz", b"PK nothing"), r"arrays\.npz cannot be read",
    ),
    "pickled arrays": (
        lambda f: edit_arrays(f, put("golden.raw", np.array([{}, {}], object))),
        "cannot be read .*pickle",
    ),
    "a document that is no JSON": (
        lambda f: reseal(f, "bundle.json", b"{"), r"bundle\.json or arrays\.npz lacks something",
    ),
    "a document that lacks a part": (
        lambda f: edit_json(f, lambda d: d.pop("metadata")), "lacks something .*metadata",
    ),
    "an unknown form": (lambda f: edit_json(f, put("form", "oracle")), "lacks something .*oracle"),
    "golden rows of whole numbers": (
        lambda f: edit_arrays(f, put("golden.raw", np.arange(40))), "golden.raw is a 1-dim.*int64",
    ),
    "no golden rows": (
        lambda f: edit_arrays(
            f, lambda a: a.update({"golden.matrix": a["golden.matrix"][:0],
                                   "golden.raw": a["golden.raw"][:0]})
        ),
        "needs golden rows",
    ),
    "a changed feature": (
        lambda f: edit_json(f, lambda d: d["features"][0].__setitem__(1, "other")),
        "does not have its recorded fingerprint",
    ),
    "another leaf": (
        lambda f: edit_arrays(f, scaled("trees.leaf_value", 1 + 1e-6)), "misses a golden row by",
    ),
    "another split": (
        lambda f: edit_arrays(f, scaled("trees.threshold", -1.0)), "misses a golden row by",
    ),
    "golden rows that are no number": (
        lambda f: edit_arrays(f, scaled("golden.raw", np.nan)), "misses a golden row by nan",
    ),
    "a broken tree": (
        lambda f: edit_arrays(f, lambda a: a["trees.left"].__setitem__(0, 0)),
        "bundle is damaged: These trees cannot be scored: .*circle",
    ),
    "a tree that reads beyond the contract": (
        lambda f: edit_arrays(f, lambda a: a["trees.feature"].__setitem__(0, 99)),
        "reads 100 features and its contract names 7",
    ),
    "a falling calibration": (
        lambda f: edit_json(f, lambda d: d["calibration"].__setitem__("slope", -1.0)),
        "bundle is damaged: The slope",
    ),
    "an older format": (
        lambda f: (f / MANIFEST).write_text(
            (f / MANIFEST).read_text().replace('"version": 1', '"version": 0')
        ),
        "format version 0; this Keepwell reads 1",
    ),
    "a time without a zone": (
        lambda f: edit_json(
            f, lambda d: d["metadata"].__setitem__("as_of", "2026-01-31T00:00:00")
        ),
        "as_of needs a time zone",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_bundle_is_refused_whole_with_the_reason(tree_model, tmp_path, case):
    tree_model.save(tmp_path / "b")
    damage, reason = DAMAGE[case]
    damage(tmp_path / "b")
    with pytest.raises(BundleError, match=reason):
        ModelBundle.load(tmp_path / "b")


def test_a_damaged_linear_bundle_is_refused(linear_model, tmp_path):
    linear_model.save(tmp_path / "b")
    edit_arrays(tmp_path / "b", scaled("linear.scale", 0.0))
    with pytest.raises(BundleError, match="bundle is damaged: A scale"):
        ModelBundle.load(tmp_path / "b")


def test_single_flipped_bytes_are_refused_whoever_mends_the_hash(tree_model, tmp_path):
    """Damage inside the arrays ends in a reason, never in a crash; and never in other scores."""
    tree_model.save(tmp_path / "b")
    rows = rows_of(tree_model)
    expected = tree_model.probability(rows, 90)
    original = (tmp_path / "b" / "arrays.npz").read_bytes()
    manifest = (tmp_path / "b" / MANIFEST).read_bytes()
    rng = np.random.default_rng(2)
    refused = 0
    for spot in rng.integers(0, len(original), 150):
        damaged = bytearray(original)
        damaged[spot] ^= int(rng.integers(1, 256))
        reseal(tmp_path / "b", "arrays.npz", bytes(damaged))
        try:
            loaded = ModelBundle.load(tmp_path / "b")
        except BundleError:
            refused += 1
        else:  # a byte that nothing depends on, such as padding
            assert (loaded.probability(rows, 90) == expected).all()
        (tmp_path / "b" / MANIFEST).write_bytes(manifest)
    assert refused > 100


# ── what cannot be a bundle ───────────────────────────────────────────────────────────────────


def test_a_contract_narrower_than_the_trees_is_refused(tree_model):
    narrow = FeatureContract(tree_model.contract.features[:3])
    with pytest.raises(BundleError, match="its contract names 3"):
        replace(tree_model, contract=narrow)


def test_a_contract_wider_than_a_linear_form_is_refused(linear_model, tree_model):
    with pytest.raises(BundleError, match="reads 5 features and its contract names 7"):
        replace(linear_model, contract=tree_model.contract)


@pytest.mark.parametrize("rates", [{30: 0.1}, {30: 0.1, 60: 0.1, 90: 0.1, 180: 0.1}])
def test_base_rates_must_be_given_for_each_horizon(tree_model, rates):
    with pytest.raises(BundleError, match="give both for each"):
        replace(tree_model, base_rates=rates)


@pytest.mark.parametrize("rate", [0.0, 1.0, float("nan")])
def test_a_base_rate_of_nothing_or_all_is_refused(tree_model, rate):
    with pytest.raises(BundleError, match="nothing to predict"):
        replace(tree_model, base_rates={30: 0.1, 60: rate, 90: 0.2})


@pytest.mark.parametrize("change", [{"metrics": {"auc": float("nan")}},
                                    {"amount_ratio": float("inf")}])  # fmt: skip
def test_a_metric_that_is_no_number_is_refused(tree_model, change):
    with pytest.raises(BundleError, match="leave out what is unknown"):
        replace(tree_model, **change)


def test_golden_rows_of_another_shape_are_refused(tree_model):
    with pytest.raises(BundleError, match=r"golden matrix have shape \(2, 3\), not \(2, 7\)"):
        replace(tree_model, golden=GoldenRows(matrix=np.zeros((2, 3)), raw=np.zeros(2)))


def test_a_reference_of_another_shape_is_refused(tree_model, linear_model):
    with pytest.raises(BundleError, match="reference quantiles have shape"):
        replace(tree_model, reference=linear_model.reference)
    rates = replace(tree_model.reference, missing_rate=np.zeros(2))
    with pytest.raises(BundleError, match="reference missing rates have shape"):
        replace(tree_model, reference=rates)


def test_a_bundle_that_is_not_the_trained_model_is_refused(tree_model):
    off = replace(tree_model.golden, raw=tree_model.golden.raw + 1e-7)
    with pytest.raises(BundleError, match="misses a golden row by 1e-07"):
        replace(tree_model, golden=off)


def test_contributions_that_do_not_add_up_are_refused(tree_model):
    class Half(TreeArrays):
        def score(self, matrix):
            return super().score(matrix) / 2

    half = Half(**tree_model.form.arrays())
    golden = replace(tree_model.golden, raw=tree_model.golden.raw / 2)
    with pytest.raises(BundleError, match="misses its own contributions by"):
        replace(tree_model, form=TreeForm(trees=half), golden=golden)


def test_a_moment_without_a_zone_is_refused(tree_model):
    with pytest.raises(BundleError, match="needs a time zone"):
        replace(tree_model.metadata, as_of=datetime(2026, 1, 1))  # noqa: DTZ001 - the case itself


def test_the_reference_knows_what_was_never_known():
    from registry.bundle.bundle import ReferenceDistribution

    matrix = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan], [5.0, np.nan]])
    reference = ReferenceDistribution.of(matrix, np.array([0.0, 0.5, 1.0]))
    np.testing.assert_array_equal(reference.values, [[1, 3, 5], [np.nan] * 3])
    np.testing.assert_array_equal(reference.missing_rate, [0.25, 1.0])


# ── the process that serves ────────────────────────────────────────────────────────────────────

SERVE = """
import sys
from pathlib import Path
from registry.bundle.bundle import ModelBundle
bundle = ModelBundle.load(Path(sys.argv[1]))
heavy = {"lightgbm", "mlflow", "sklearn", "shap", "pickle5"} & set(sys.modules)
own = {m for m in sys.modules if m.split(".")[0] in ("features", "training", "serving")}
print(sorted(heavy | own), bundle.points(bundle.golden.matrix, 90)[0][0].tolist())
"""


def test_a_bundle_loads_without_training_features_or_lightgbm(tree_model, tmp_path):
    tree_model.save(tmp_path / "b")
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(tmp_path / "b")], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    expected = tree_model.points(tree_model.golden.matrix, 90)[0][0].tolist()
    assert done.stdout.strip() == f"[] {expected}"


def test_calibration_is_part_of_the_identity(tree_model):
    other = Calibration(
        horizons=(30, 60, 90), slope=0.9, intercepts=tree_model.calibration.intercepts,
        draws=tree_model.calibration.draws,
    )  # fmt: skip
    assert replace(tree_model, calibration=other).fingerprint != tree_model.fingerprint
