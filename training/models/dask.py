"""Fit trees on a Dask cluster, where the rows outgrow one machine.

The same spec and the same parameters; every worker holds its part of the rows, and histograms are
added up. Sums come in another order and bagging draws within a worker, so the trees are not those
of one machine to the bit, and their metrics are the same within their intervals (test). A worker
that dies ends the attempt: all rows are fitted again on the workers that are left, or the error
says so. There is never half a model. Needs the extra
``dask``. With ``connect_to_cluster`` and ``trees_of_cluster`` a whole training grows its trees
there.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from training.dataset.errors import OneClassError, TrainingError
from training.dataset.training_set import TrainingSet
from training.models.binned_rows import Bools, MakeGrower, rules_of
from training.models.boosting import GrowthRules
from training.models.fit import FittedModel, fitted_trees, fitting_of
from training.models.specs import LIGHTGBM, ModelSpec, Parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dask.array as da
    from distributed import Client

ATTEMPTS = 3
"""The number of attempts to fit all rows, if workers die."""

GRACE = 5.0
"""Seconds that LightGBM has to end by itself once a worker is gone; it may wait for its peer."""


ANSWERS_WITHIN = 10
"""Seconds that a scheduler has to answer at its address."""

WORKER_WITHIN = 15.0
"""Seconds that a cluster without a worker has to get one: a worker that died is started again."""

PARTS_PER_WORKER = 2
"""The parts of rows per worker, so that the others can share those of a dead one."""


class ClusterError(TrainingError):
    """The cluster could not fit the model; no part of it is used."""


@contextmanager
def connect_to_cluster(
    address: str | None = None,
    *,
    workers: int = 2,
    answers_within: float = ANSWERS_WITHIN,
) -> Iterator[Client]:
    """A client of the scheduler at this address; without one, of workers started here.

    Raises:
        ClusterError: Dask is not installed, or no scheduler answers.
    """
    try:
        import dask.array  # noqa: F401 - without it nothing can be sent
        import distributed
    except ImportError as exc:
        raise ClusterError(
            "Training on a cluster needs Dask, which is not installed: "
            "pip install 'keepwell[dask]'."
        ) from exc
    lgb.register_logger(logging.getLogger("lightgbm"))  # it prints which ports it looks for
    connect: Any = distributed.Client  # its own types leave them untyped
    local: Any = distributed.LocalCluster
    with ExitStack() as open_until_the_end:
        enter = open_until_the_end.enter_context
        if address is None:
            cluster = enter(
                local(
                    n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50
                )
            )
            client = enter(connect(cluster))
            client.run(_silence_workers)
        else:
            try:
                client = enter(connect(address, timeout=answers_within))
            except (OSError, ValueError) as exc:
                raise ClusterError(
                    f"No Dask scheduler answers at {address!r} within {answers_within:g} seconds. "
                    f"Start one (dask scheduler) with workers (dask worker ADDRESS), or train on "
                    f"this machine."
                ) from exc
        yield client


def trees_of_cluster(client: Client) -> MakeGrower:
    """Trees from the workers of this client, for any rows and columns of a training set."""

    def growing(training: TrainingSet, rows: Bools, columns: list[int]) -> ClusterRows:
        return ClusterRows(
            client=client,
            place=np.where(rows, np.cumsum(rows) - 1, -1),
            matrix=training.part(rows, columns),
            outcome=training.outcome[rows],
            rules=rules_of(training, columns),
        )

    return growing


@dataclass(frozen=True, kw_only=True, eq=False)
class ClusterRows:
    """Rows of a training set that are read here and sent to the workers part by part."""

    client: Client
    matrix: NDArray[np.float64]
    outcome: NDArray[np.float64]
    rules: GrowthRules
    place: NDArray[np.int64]  # of each row of the training set among these; -1 is not there

    def fitted(self, rows: Bools, parameters: Parameters, *, seed: int) -> FittedModel:
        """The trees of these rows of the training set, or OneClassError, or ClusterError."""
        import dask.array as da

        places = self.place[rows]
        matrix, outcome = self.matrix[places], self.outcome[places]
        step = self.rules.step(matrix, outcome)
        size = -(-len(matrix) // (PARTS_PER_WORKER * max(1, len(_workers(self.client)))))
        in_parts: Any = da.from_array  # dask's own types leave it untyped
        booster = grow_on_cluster(
            LIGHTGBM,
            in_parts(self.rules.as_split(matrix), chunks=(size, matrix.shape[1])),
            in_parts(outcome, chunks=size),
            parameters,
            seed=seed,
            client=self.client,
            starts=None if step is None else in_parts(step.scores(matrix), chunks=size),
            directions=self.rules.directions,
        )
        return fitted_trees(booster, step)


def fit_on_cluster(
    spec: ModelSpec,
    matrix: da.Array,
    outcome: da.Array,
    parameters: Parameters,
    *,
    seed: int,
    client: Client,
    attempts: int = ATTEMPTS,
    worker_within: float = WORKER_WITHIN,
) -> FittedModel:
    """Fit a spec of trees to rows that lie on the workers, which score them as well."""
    booster = grow_on_cluster(
        spec,
        matrix,
        outcome,
        parameters,
        seed=seed,
        client=client,
        attempts=attempts,
        worker_within=worker_within,
    )
    return fitted_trees(booster)


def grow_on_cluster(
    spec: ModelSpec,
    matrix: da.Array,
    outcome: da.Array,
    parameters: Parameters,
    *,
    seed: int,
    client: Client,
    attempts: int = ATTEMPTS,
    worker_within: float = WORKER_WITHIN,
    starts: da.Array | None = None,
    directions: tuple[int, ...] = (),
) -> lgb.Booster:
    """Grow the trees of a spec from rows that lie on the workers of a Dask cluster.

    Args:
        spec: what to fit; its form is trees.
        matrix: rows × what the spec reads, NaN unknown; chunked by rows only.
        outcome: 1 or 0 per row, chunked alike.
        parameters: of the spec, or those that a study found.
        seed: of everything random.
        client: of a cluster whose workers can reach each other.
        attempts: the number of attempts, if workers die.
        worker_within: seconds in which a worker has to be there, at each attempt.
        starts: the score that each row starts from, chunked alike.
        directions: of each column, as in ``GrowthRules``; none: every tree is free.

    Raises:
        ClusterError: there is no worker, or workers died in every attempt.
        OneClassError: the outcome never came, or always.
    """
    if not fitting_of(spec).is_grown:
        raise ClusterError(
            f"The {spec.title} is not made of trees and needs no cluster; fit it on a sample of "
            f"the rows on this machine."
        )
    _wait_for_a_worker(client, worker_within)
    known: Any = outcome  # dask's own types leave its methods untyped
    happened, rows = int(known.sum().compute()), len(known)
    if not 0 < happened < rows:
        raise OneClassError(
            f"{happened} of the {rows} rows to fit have the outcome: there is nothing to tell "
            f"apart. Use more cutoffs or a longer horizon."
        )
    lost: list[str] = []
    for _ in range(attempts):
        _wait_for_a_worker(client, worker_within)
        workers = _workers(client)
        try:
            return _grow_once(
                matrix,
                outcome,
                starts,
                _settings(parameters, directions, seed=seed),
                client=client,
                workers=workers,
            )
        except _WorkersLostError as exc:
            lost.append(str(exc))
    raise ClusterError(
        f"The model was not fitted, in {len(lost)} attempt(s): {' '.join(lost)} Nothing of it is "
        f"kept. See the logs of those workers (memory is the usual reason), give them more or "
        f"smaller parts, and train again."
    )


class _WorkersLostError(Exception):
    """Workers died while they fitted."""


def _grow_once(
    matrix: da.Array,
    outcome: da.Array,
    starts: da.Array | None,
    settings: Mapping[str, Any],
    *,
    client: Client,
    workers: frozenset[str],
) -> lgb.Booster:
    """One attempt with a watch on the workers: LightGBM itself may wait for ever for a dead one."""
    made: list[lgb.Booster] = []
    failed: list[BaseException] = []

    def attempt() -> None:
        try:
            model = lgb.DaskLGBMClassifier(client=client, **settings)
            made.append(model.fit(matrix, outcome, init_score=starts).booster_)
        except BaseException as exc:  # noqa: BLE001 - raised again in the thread that waits
            failed.append(exc)

    thread = threading.Thread(target=attempt, daemon=True)
    with warnings.catch_warnings():  # lightgbm.dask sets its own threads and says so every time
        warnings.filterwarnings("ignore", message="Parameter n_jobs will be ignored")
        # rows that were read here are part of the graph, so that a dead worker's are sent again
        warnings.filterwarnings("ignore", message="Sending large graph")
        thread.start()
        gone: frozenset[str] = frozenset()
        while thread.is_alive() and not gone:
            thread.join(0.25)
            gone = _gone(workers, client)
        thread.join(GRACE if gone else None)
    gone = gone or _gone(workers, client)
    # a bag of rows that cannot be split adds no tree, so fewer are whole where nobody died
    if made and (not gone or made[0].num_trees() == settings["n_estimators"]):
        return made[0]
    if gone:
        client.restart()  # the others may wait for a peer that will not come back
        raise _WorkersLostError(
            f"{len(gone)} of {len(workers)} workers died: {', '.join(sorted(gone))}."
        )
    said = " ".join(str(failed[0]).split()).rstrip(". ")
    if _is_of_the_network(said):
        client.restart()  # what a worker still holds of the attempt would take its port
        raise _WorkersLostError(f"The workers lost each other: {said}.")
    raise ClusterError(
        f"The cluster could not fit the model: {said}. Nothing of it is kept."
    ) from failed[0]


def _gone(workers: frozenset[str], client: Client) -> frozenset[str]:
    return workers - _workers(client)


def _is_of_the_network(said: str) -> bool:
    """Whether LightGBM's complaint is about ports and peers, which another attempt may find again.

    >>> _is_of_the_network("Socket recv error, Connection reset by peer (code: 104)")
    True
    >>> _is_of_the_network("Binding port 42121 failed")
    True
    >>> _is_of_the_network("Check failed: (num_leaves) > (1) at config.cpp, line 330")
    False
    """
    return any(word in said.lower() for word in ("socket", "binding port", "connecting to rank"))


def _wait_for_a_worker(client: Client, seconds: float) -> None:
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError:
        raise ClusterError(
            "The cluster has no worker. Start some (dask worker ADDRESS), or train on this machine."
        ) from None


def _workers(client: Client) -> frozenset[str]:
    return frozenset(client.scheduler_info(n_workers=-1)["workers"])


def _settings(
    parameters: Parameters, directions: tuple[int, ...], *, seed: int
) -> Mapping[str, Any]:
    """The parameters as the estimator of lightgbm.dask wants them."""
    settings: dict[str, Any] = {
        name: value for name, value in parameters.items() if name != "rounds"
    }
    for name in ("num_leaves", "min_data_in_leaf"):
        settings[name] = int(settings[name])
    if any(directions):
        settings["monotone_constraints"] = list(directions)
    return {
        **settings,
        "n_estimators": int(parameters["rounds"]),
        "tree_learner": "data",
        "objective": "binary",
        "bagging_freq": 1,
        "seed": seed,
        "verbosity": -1,
        "feature_pre_filter": False,
        "time_out": 2,
    }


def _silence_workers() -> None:
    """Keep what LightGBM prints about its sockets, on workers of this machine, off the screen."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what compiled code prints to
