"""Trees from two workers: as good as from one machine, and whole or not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
da = pytest.importorskip("dask.array")

import dask  # noqa: E402 - the extra comes first
from distributed.utils import get_mp_context  # noqa: E402

from registry.promotion.promotion import gain, log_loss_rows  # noqa: E402
from training.dataset.errors import OneClassError  # noqa: E402
from training.dataset.labels import label_named  # noqa: E402
from training.models.calibration import fit_calibration  # noqa: E402
from training.models.dask import ClusterError, connect_to_cluster, fit_on_cluster, trees_of_cluster  # noqa: E402
from training.models.fit import fit  # noqa: E402
from training.models.fitting.fit_rows import usable_columns  # noqa: E402
from training.models.specs import LIGHTGBM, LOGISTIC  # noqa: E402
from training.pipeline.prepare import prepare  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of killed workers


@pytest.fixture(scope="module", autouse=True)
def workers_begin_with_their_imports():
    """Workers are forked from a process that has imported what they need: three seconds of cpu each."""
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context().set_forkserver_preload(["distributed", "lightgbm", "sklearn.utils"])
        yield


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def prepared(small_company):
    company = small_company(n_accounts=400, leaves=0.06)
    return prepare(
        label_named("churn"),
        events=company.events,
        reader=company.reader,
        digests=company.digests,
        cutoffs=company.cutoffs,
        known_until=company.known_until,
    )


def spread(matrix, outcome, parts=4):
    size = -(-len(matrix) // parts)
    return (
        da.from_array(matrix, chunks=(size, matrix.shape[1])),
        da.from_array(outcome, chunks=size),
    )


def noise(n=6000):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(n, 20))
    return matrix, (rng.random(n) < 1 / (1 + np.exp(2 - matrix[:, 0]))).astype(float)


def test_two_workers_fit_a_model_as_good_as_one_machine(client, prepared) -> None:
    training, before, test = prepared.training, prepared.before_test, prepared.test
    columns = usable_columns(training, before, LIGHTGBM)
    matrix = np.ascontiguousarray(training.matrix[:, columns])
    here = fit(LIGHTGBM, matrix[before], training.outcome[before], LIGHTGBM.parameters, seed=1)
    there = fit_on_cluster(
        LIGHTGBM,
        *spread(matrix[before], training.outcome[before]),
        LIGHTGBM.parameters,
        seed=1,
        client=client,
    )
    assert there.form.trees.n_trees == LIGHTGBM.parameters["rounds"]
    np.testing.assert_array_equal(there.form.score(matrix[test]), there.score(matrix[test]))
    y, losses = training.outcome[test], []
    for fitted in (here, there):
        f = fitted.score(matrix)
        calibrated = fit_calibration(
            f[before],
            training.outcomes[before],
            training.account[before],
            n_draws=0,
            rng=np.random.default_rng(1),
        )
        losses.append(log_loss_rows(y, calibrated.probability(f[test], 2)))
    found = gain(losses[1], losses[0], training.account[test], np.random.default_rng(1))
    # bags are drawn within a worker, so the trees differ; the log loss of .28 is known to ± .03
    assert abs(found.mean) < 0.01


def kill_a_worker_that_fits(client) -> threading.Thread:
    """Kill a worker as soon as both fit; the thread that does it.

    On a busy machine LightGBM may lose its peer and end the worker before: then it died too.
    """
    pids = client.run(os.getpid)

    def kill() -> None:
        while sum("_train_part" in str(keys) for keys in client.processing().values()) < 2:
            time.sleep(0.05)
        time.sleep(0.5)
        with contextlib.suppress(ProcessLookupError):
            os.kill(next(iter(pids.values())), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


LONG = {**LIGHTGBM.parameters, "rounds": 1500, "num_leaves": 15}


def test_a_worker_that_dies_is_an_error_in_words_and_no_half_of_a_model(client) -> None:
    killer = kill_a_worker_that_fits(client)
    with pytest.raises(ClusterError, match=r"1 attempt\(s\): 1 of 2 workers died: tcp:.*Nothing"):
        fit_on_cluster(LIGHTGBM, *spread(*noise()), LONG, seed=1, client=client, attempts=1)
    killer.join()


def test_only_trees_need_a_cluster(client) -> None:
    with pytest.raises(ClusterError, match="logistic regression is not made of trees"):
        fit_on_cluster(LOGISTIC, *spread(*noise(40)), LOGISTIC.parameters, seed=1, client=client)


def test_one_class_is_refused_before_anything_is_sent(client) -> None:
    matrix, outcome = noise(40)
    with pytest.raises(OneClassError, match="0 of the 40 rows to fit have the outcome"):
        fit_on_cluster(
            LIGHTGBM, *spread(matrix, 0 * outcome), LIGHTGBM.parameters, seed=1, client=client
        )


def test_what_lightgbm_refuses_is_said_in_words(client) -> None:
    with pytest.raises(ClusterError, match=r"could not fit the model: .*Nothing of it is kept"):
        fit_on_cluster(
            LIGHTGBM,
            *spread(*noise(400)),
            {**LIGHTGBM.parameters, "bagging_fraction": 7.0},
            seed=1,
            client=client,
        )


def test_a_cluster_without_workers_says_how_to_start_some() -> None:
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        matrix = da.zeros((4, 2), chunks=(2, 2))
        with pytest.raises(ClusterError, match=r"no worker\. Start some"):
            fit_on_cluster(
                LIGHTGBM,
                matrix,
                da.from_array(np.array([0.0, 1, 0, 1]), chunks=2),
                LIGHTGBM.parameters,
                seed=1,
                client=client,
                worker_within=0.1,
            )


def test_a_cluster_whose_worker_is_on_its_way_is_waited_for() -> None:
    with (
        distributed.LocalCluster(
            n_workers=0, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        starting = threading.Timer(0.5, cluster.scale, (1,))
        starting.start()
        values = np.random.default_rng(1).normal(size=(400, 2))
        fitted = fit_on_cluster(
            LIGHTGBM,
            da.from_array(values, chunks=(200, 2)),
            da.from_array((values[:, 0] > 1).astype(float), chunks=200),
            {**LIGHTGBM.parameters, "rounds": 2},
            seed=1,
            client=client,
        )
        starting.join()
    assert fitted.form.trees.n_trees == 2


def test_rows_that_cannot_be_split_give_fewer_trees_and_no_error(client) -> None:
    client.wait_for_workers(2)
    asked = {**LIGHTGBM.parameters, "rounds": 5, "min_data_in_leaf": 1e6}
    fitted = fit_on_cluster(LIGHTGBM, *spread(*noise()), asked, seed=1, client=client)
    assert fitted.form.trees.n_trees < 5


def test_a_whole_training_on_two_workers_judges_like_one_on_this_machine(
    client, small_company
) -> None:
    client.wait_for_workers(2)
    company = small_company(n_accounts=400, leaves=0.06)
    here = company.train(trials=0)
    there = company.train(trials=0, growing=trees_of_cluster(client))
    one, other = (result.metrics["lightgbm"][90] for result in (here, there))
    assert one != other  # bags are drawn within a worker: these trees are not those of one machine
    for metric in ("log_loss", "auc", "brier"):
        assert one[metric].low < other[metric].value < one[metric].high
        assert other[metric].low < one[metric].value < other[metric].high
    assert {name: metrics for name, metrics in here.metrics.items() if name != "lightgbm"} == {
        name: metrics for name, metrics in there.metrics.items() if name != "lightgbm"
    }


def test_after_a_worker_died_all_rows_are_sent_and_fitted_again_and_the_training_goes_on(
    client, prepared
) -> None:
    client.wait_for_workers(2)
    training, rows = prepared.training, prepared.before_test
    grower = trees_of_cluster(client)(training, rows, usable_columns(training, rows, LIGHTGBM))
    older = training.rows_at(prepared.split.before_test[:4])
    killer = kill_a_worker_that_fits(client)
    fitted = grower.fitted(rows, LONG, seed=1)
    killer.join()
    # a round in which a worker's rows cannot be split adds no tree
    assert 0.99 * LONG["rounds"] <= fitted.form.trees.n_trees <= LONG["rounds"]
    assert grower.fitted(older, LIGHTGBM.parameters, seed=1).form.trees.n_trees == 120


def test_a_part_of_one_class_is_refused_by_the_cluster_too(client, prepared) -> None:
    training, rows = prepared.training, prepared.before_test
    grower = trees_of_cluster(client)(training, rows, usable_columns(training, rows, LIGHTGBM))
    with pytest.raises(OneClassError, match="nothing to tell apart"):
        grower.fitted(rows & (training.outcome == 0), LIGHTGBM.parameters, seed=1)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'keepwell\[dask\]'"), connect_to_cluster():
        pass


def test_an_address_where_nobody_answers_is_said_in_words() -> None:
    with (
        pytest.raises(ClusterError, match=r"answers at 'tcp://127\.0\.0\.1:1' within 0\.5 sec"),
        connect_to_cluster("tcp://127.0.0.1:1", answers_within=0.5),
    ):
        pass


def test_workers_of_this_machine_are_started_and_ended(client) -> None:
    with connect_to_cluster(workers=1) as ours:
        assert len(ours.scheduler_info()["workers"]) == 1
        address = ours.scheduler.address
        with connect_to_cluster(address) as again:
            assert again.scheduler.address == address
    with (
        pytest.raises(ClusterError, match="No Dask scheduler answers"),
        connect_to_cluster(address, answers_within=0.5),
    ):
        pass
