"""CausalML's uplift forest on arrays in a file; run by the Python of an environment that has it."""

from __future__ import annotations

import sys

import numpy as np
from causalml.inference.tree import UpliftRandomForestClassifier

given = np.load(sys.argv[1])
forest = UpliftRandomForestClassifier(
    control_name="control", n_estimators=50, min_samples_leaf=100, n_jobs=1,
    random_state=int(given["seed"]))
forest.fit(X=given["x"], treatment=np.where(given["treated"], "treated", "control"),
           y=given["y"].astype(int))
np.save(sys.argv[2], np.ravel(forest.predict(given["ask"])))
