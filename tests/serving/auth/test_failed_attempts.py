"""Who presents wrong keys waits longer each time; whoever has a right one is not shut out."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from real_server import running
from small_company import AS_OF

from serving.auth.failed_attempts import (
    FORGOTTEN_AFTER,
    FREE,
    LONGEST,
    MOST_ADDRESSES,
    MOST_KEYS,
    FailedAttempts,
)

FAR, ELSEWHERE = "203.0.113.9", "198.51.100.7"
SECOND = timedelta(seconds=1)


def guessed(attempts: FailedAttempts, times: int, address: str = FAR, now=AS_OF):
    """The moment after so many guesses, each as soon as the address may."""
    for _ in range(times):
        now += attempts.seconds_to_wait(address, None, now) * SECOND
        attempts.failed(address, now)
    return now


def test_the_first_are_free_and_each_further_one_waits_twice_as_long() -> None:
    attempts, now = FailedAttempts(), AS_OF
    waits = []
    for _ in range(FREE + 11):
        waits.append(attempts.seconds_to_wait(FAR, None, now))
        now += waits[-1] * SECOND
        attempts.failed(FAR, now)
    assert waits == [0] * FREE + [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, LONGEST.seconds]
    guesses = FREE
    while now < AS_OF + timedelta(days=1):
        now = guessed(attempts, 1, now=now)
        guesses += 1
    assert guesses < 120  # of a day


def test_what_is_refused_meanwhile_does_not_make_it_longer() -> None:
    attempts = FailedAttempts()
    now = guessed(attempts, FREE + 5)
    wait = attempts.seconds_to_wait(FAR, None, now)
    assert [attempts.seconds_to_wait(FAR, None, now) for _ in range(100)] == [wait] * 100
    assert attempts.seconds_to_wait(FAR, None, now + wait * SECOND) == 0


def test_a_clock_that_is_put_back_shuts_nobody_out_for_longer() -> None:
    attempts = FailedAttempts()
    now = guessed(attempts, FREE + 20) - timedelta(days=365)
    assert attempts.seconds_to_wait(FAR, None, now) == LONGEST.seconds
    assert attempts.seconds_to_wait(FAR, None, now + LONGEST) == 0


def test_others_and_who_came_in_from_there_before_are_not_shut_out() -> None:
    attempts = FailedAttempts()
    attempts.came_in(FAR, "key-owner")
    now = guessed(attempts, FREE + 20)
    assert attempts.seconds_to_wait(FAR, None, now) > 0
    assert attempts.seconds_to_wait(FAR, "key-new-here", now) > 0
    assert attempts.seconds_to_wait(FAR, "key-owner", now) == 0
    assert attempts.seconds_to_wait(ELSEWHERE, "key-new-here", now) == 0


def test_a_right_key_in_between_gives_no_further_guesses() -> None:
    attempts = FailedAttempts()
    guessed(attempts, FREE - 1)
    attempts.came_in(FAR, "key-of-the-attacker")
    guessed(attempts, 1)
    assert attempts.seconds_to_wait(FAR, None, AS_OF) > 0


def test_an_address_is_forgotten_after_an_hour() -> None:
    attempts = FailedAttempts()
    now = guessed(attempts, FREE + 20) + LONGEST + FORGOTTEN_AFTER
    attempts.failed(FAR, now)
    assert attempts.seconds_to_wait(FAR, None, now) == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", None])
def test_this_machine_is_never_shut(address) -> None:
    attempts = FailedAttempts()
    for _ in range(FREE + 50):
        assert not attempts.failed(address, AS_OF)
    assert attempts.seconds_to_wait(address, None, AS_OF) == 0


def test_the_second_half_of_an_address_is_the_attackers_to_choose() -> None:
    attempts = FailedAttempts()
    for number in range(FREE):
        attempts.failed(f"2001:db8:1:2::{number:x}", AS_OF)
    assert attempts.seconds_to_wait("2001:db8:1:2:ffff::1", None, AS_OF) > 0
    assert attempts.seconds_to_wait("2001:db8:1:3::1", None, AS_OF) == 0


def test_memory_is_bounded() -> None:
    attempts = FailedAttempts()
    for number in range(MOST_ADDRESSES + 500):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        attempts.failed(address, AS_OF)
        attempts.came_in(address, "key")
    for number in range(MOST_KEYS + 50):
        attempts.came_in(FAR, f"key-{number}")
    assert len(attempts._failures) == len(attempts._came_in) == MOST_ADDRESSES
    assert len(attempts._came_in[FAR]) == MOST_KEYS


def test_a_guesser_is_told_to_wait_and_the_owner_and_the_probes_are_answered(
    own_workspace, store, make_client
) -> None:
    clock = [AS_OF]
    app = make_client(own_workspace, store, wall_clock=lambda: clock[0]).app
    keys = app.state.service.keys
    old, new = (
        keys.create(name=name, owner="ann", role="reader", now=AS_OF).secret for name in "ab"
    )
    with running(app) as address, httpx.Client(base_url=address, timeout=60) as client:

        def ask(key: str | None, path: str = "/v1/accounts", of: str = FAR) -> httpx.Response:
            headers = {"X-Forwarded-For": of} | ({} if key is None else {"X-API-Key": key})
            return client.get(path, headers=headers)

        assert ask(old).status_code == 200
        answers = [ask(f"kw_{number}") for number in range(FREE + 5)]
        assert [one.status_code for one in answers] == [401] * FREE + [429] * 5
        refused = answers[-1]
        assert refused.json()["type"] == "/problems#too-many-attempts"
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["content-type"] == "application/problem+json"
        # a right key that was never here gives itself away no more than a wrong one
        assert ask(new).content == ask("kw_wrong").content
        assert ask(old).status_code == 200
        assert ask(new, of=ELSEWHERE).status_code == 200
        assert ask(None, "/healthz").status_code == ask("kw_x", "/readyz").status_code == 200
        assert ask(None).status_code == 401
        clock[0] += SECOND
        assert ask(new).status_code == 200
