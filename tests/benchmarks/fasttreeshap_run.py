"""One run of fasttreeshap, in the environment that its age needs: milliseconds of cpu a row.

Takes a LightGBM model, a matrix, and a file for its contributions.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import fasttreeshap
import lightgbm
import numpy as np


def main(model: str, matrix: str, answer: str) -> None:
    rows = np.load(matrix)
    explainer = fasttreeshap.TreeExplainer(
        lightgbm.Booster(model_file=model), algorithm="v1", n_jobs=1
    )
    took, values = [], []
    for row in range(len(rows)):
        began = time.process_time()
        told = explainer.shap_values(rows[row : row + 1], check_additivity=False)
        took.append(time.process_time() - began)
        values.append(told[1] if isinstance(told, list) else told)
    np.save(answer, np.vstack(values))
    print(json.dumps({"one_row": statistics.median(took) * 1e3}))


if __name__ == "__main__":
    main(*sys.argv[1:])
