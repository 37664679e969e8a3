from __future__ import annotations

import pytest

from training.dataset.labels import label_named
from training.pipeline.prepare import PreparedData, prepare


@pytest.fixture(scope="module")
def prepared(small_company) -> PreparedData:
    """Churn of a small company; a module that needs another one makes its own."""
    company = small_company(n_accounts=150)
    return prepare(
        label_named("churn"),
        events=company.events,
        reader=company.reader,
        digests=company.digests,
        cutoffs=company.cutoffs,
        known_until=company.known_until,
    )
