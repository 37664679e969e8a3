"""One key may send so many writes a second, and no other key feels it."""

from __future__ import annotations

from small_company import AS_OF

from serving.auth.write_rate import MOST_KEYS, SAVED_SECONDS, WriteRate


def test_a_key_has_its_writes_of_a_second_and_what_it_saved() -> None:
    now = [0.0]
    rate = WriteRate(2.0, clock=lambda: now[0])
    burst = 2 * SAVED_SECONDS
    assert [rate.seconds_to_wait("a") for _ in range(burst)] == [0] * burst
    assert [rate.seconds_to_wait("a") for _ in range(3)] == [1, 1, 1]
    assert rate.seconds_to_wait("b") == 0
    now[0] = 1.0
    assert [rate.seconds_to_wait("a") for _ in range(3)] == [0, 0, 1]
    now[0] = 1e9
    assert sum(rate.seconds_to_wait("a") == 0 for _ in range(2 * burst)) == burst


def test_less_than_one_a_second_and_none_are_rates_too() -> None:
    slow = WriteRate(0.01, clock=lambda: 0.0)
    assert [slow.seconds_to_wait("a") for _ in range(2)] == [0, 100]
    assert {WriteRate(0.0).seconds_to_wait("a") for _ in range(1_000)} == {0}


def test_a_bounded_number_of_keys_is_remembered() -> None:
    rate = WriteRate(1.0, clock=lambda: 0.0)
    for number in range(MOST_KEYS + 5):
        rate.seconds_to_wait(f"key-{number}")
    assert len(rate._left) == MOST_KEYS


def test_writes_beyond_the_rate_of_a_key_are_refused_and_reads_go_on(
    make_client, own_workspace, store
) -> None:
    client = make_client(own_workspace, store, key_writes_per_second=0.1)
    keys = client.app.state.service.keys
    one, two = (
        {"X-API-Key": keys.create(name="k", owner=who, role="engine", now=AS_OF).secret}
        for who in ("ann", "bob")
    )

    def ask(headers: dict[str, str]):
        return client.post("/v1/next-actions", json={"limit": 1}, headers=headers)

    assert ask(one).status_code == 200
    refused = ask(one)
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems#too-many-writes")
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert client.get("/v1/accounts", headers=one).status_code == 200
    assert client.post("/v1/scores", json={"account_ids": ["acct-00"]}, headers=one).is_success
    assert ask(two).status_code == 200
