"""A store that a command opens signs and checks where the environment has a key."""

from __future__ import annotations

import pytest

from registry.integrity.signing import KEY_VARIABLE, SigningKeyError
from registry.outcomes import MODEL_NAMES
from registry.store.open_store import pending_uploads_in, store_at


def test_a_store_is_opened_at_its_address(tmp_path):
    store = store_at(f"sqlite:///{tmp_path}/mlflow.db", {})
    assert [list(store.versions(model)) for model in MODEL_NAMES] == [[]] * len(MODEL_NAMES)


@pytest.mark.parametrize(
    "open_one",
    [
        lambda folder, environment: store_at(f"sqlite:///{folder}/mlflow.db", environment),
        pending_uploads_in,
    ],
    ids=["models", "runs that wait"],
)
def test_a_key_that_could_be_guessed_opens_nothing(tmp_path, open_one):
    with pytest.raises(SigningKeyError, match="could be guessed"):
        open_one(tmp_path, {KEY_VARIABLE: "short"})
    assert list(tmp_path.iterdir()) == []


def test_runs_wait_in_their_folder(tmp_path):
    assert (
        pending_uploads_in(tmp_path / "waiting", {KEY_VARIABLE: "a key of sixteen"}).folder
        == tmp_path / "waiting"
    )
