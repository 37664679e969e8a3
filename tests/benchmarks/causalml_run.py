"""CausalML's uplift forest on arrays in a file; run by the Python of an environment that has it.

Takes the file of arrays, and a file for its effects.
"""

from __future__ import annotations

import sys

import numpy as np


def main(given_file: str, answer_file: str) -> None:
    # only that environment has it, and this module is read by others
    from causalml.inference.tree import UpliftRandomForestClassifier

    given = np.load(given_file)
    forest = UpliftRandomForestClassifier(
        control_name="control",
        n_estimators=50,
        min_samples_leaf=100,
        n_jobs=1,
        random_state=int(given["seed"]),
    )
    forest.fit(
        X=given["x"],
        treatment=np.where(given["treated"], "treated", "control"),
        y=given["y"].astype(int),
    )
    np.save(answer_file, np.ravel(forest.predict(given["ask"])))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
