"""Keys are shown once, kept as keyed hashes, and end when they are said to."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from serving.auth.api_keys import KEYS_FILE, PEPPER_FILE, ApiKeyError, ApiKeys, acting_as
from serving.auth.roles import RoleError
from serving.scoring.visible_accounts import VisibleAccounts

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def keys(tmp_path) -> Iterator[ApiKeys]:
    opened = ApiKeys(tmp_path)
    yield opened
    opened.close()


def made(keys: ApiKeys, **words: object):
    return keys.create(**{"name": "laptop", "owner": "ann", "role": "csm", "now": NOW, **words})


def test_opening_makes_no_file_and_no_key_is_needed_before_the_first(keys, tmp_path):
    assert not keys.are_used
    assert keys.caller("kw_anything", NOW) is None
    assert keys.all() == ()
    assert list(tmp_path.iterdir()) == []
    made(keys)
    assert keys.are_used


def test_a_key_says_who_comes_with_it(keys):
    new = made(keys, territories=("emea",))
    caller = keys.caller(new.secret, NOW)
    assert caller == new.key.caller
    assert (caller.key_id, caller.owner, caller.role) == (new.key.key_id, "ann", "csm")
    assert caller.reach == VisibleAccounts(csm="ann", territories=("emea",))
    assert keys.caller(new.secret + "x", NOW) is None
    assert keys.caller("", NOW) is None


def test_secrets_have_256_bits_and_are_never_the_same(keys):
    said = {made(keys).secret for _ in range(20)}
    assert len(said) == 20
    assert all(len(secret) == len("kw_") + 43 for secret in said)  # 43 × 6 bits hold 256


def test_what_is_kept_opens_nothing(keys, tmp_path):
    new = made(keys)
    for file in tmp_path.iterdir():
        assert new.secret.encode() not in file.read_bytes()
        assert new.secret.removeprefix("kw_").encode() not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file.name
    [digest] = [secret.digest for secret in new.key.secrets]
    assert keys.caller(digest, NOW) is None
    assert new.secret not in repr(new)
    assert digest not in repr(new.key)


def test_the_same_secret_under_another_pepper_is_another_hash(tmp_path):
    with closing(ApiKeys(tmp_path / "a")) as one, closing(ApiKeys(tmp_path / "b")) as other:
        new = made(one)
        made(other)
        assert other.caller(new.secret, NOW) is None
        assert one._digest(new.secret) != other._digest(new.secret)


def test_a_key_ends_at_the_moment_it_is_said_to(keys):
    new = made(keys, expires_at=NOW + DAY)
    assert keys.caller(new.secret, NOW + DAY - timedelta(microseconds=1)) is not None
    assert keys.caller(new.secret, NOW + DAY) is None
    [listed] = keys.all()
    assert (listed.state(NOW), listed.state(NOW + DAY)) == ("live", "expired")
    with pytest.raises(ApiKeyError, match="is expired, and stays so"):
        keys.rotate(new.key.key_id, overlap=DAY, now=NOW + DAY)


def test_both_secrets_are_live_while_a_holder_changes_over(keys):
    first = made(keys)
    second = keys.rotate(first.key.key_id, overlap=DAY, now=NOW)
    assert keys.caller(first.secret, NOW) == keys.caller(second.secret, NOW) == first.key.caller
    assert keys.caller(first.secret, NOW + DAY) is None
    assert keys.caller(second.secret, NOW + DAY) is not None


def test_a_third_live_secret_is_refused_and_without_an_overlap_ends_the_others(keys):
    first = made(keys)
    second = keys.rotate(first.key.key_id, overlap=DAY, now=NOW)
    with pytest.raises(ApiKeyError, match="two live secrets, the older until 2026-03-02 12:00"):
        keys.rotate(first.key.key_id, overlap=DAY, now=NOW)
    third = keys.rotate(first.key.key_id, overlap=timedelta(0), now=NOW)
    assert keys.caller(first.secret, NOW) is keys.caller(second.secret, NOW) is None
    assert keys.caller(third.secret, NOW) is not None
    fourth = keys.rotate(first.key.key_id, overlap=DAY, now=NOW)
    assert keys.caller(fourth.secret, NOW) is not None


def test_a_process_that_runs_sees_what_another_does(keys, tmp_path):
    assert not keys.are_used
    with closing(ApiKeys(tmp_path)) as other:
        new = made(other)
        assert keys.caller(new.secret, NOW) is not None
        rotated = other.rotate(new.key.key_id, overlap=timedelta(0), now=NOW)
        assert keys.caller(new.secret, NOW) is None
        assert keys.caller(rotated.secret, NOW) is not None
        revoked = other.revoke(new.key.key_id, now=NOW)
        assert keys.caller(rotated.secret, NOW) is None
    assert revoked.state(NOW) == "revoked"
    assert keys.are_used  # the door stays shut although nobody has a key


def test_a_revoked_key_stays_revoked_since_when_it_was(keys):
    new = made(keys)
    keys.revoke(new.key.key_id, now=NOW)
    assert keys.revoke(new.key.key_id, now=NOW + DAY).revoked_at == NOW
    with pytest.raises(ApiKeyError, match="is revoked, and stays so"):
        keys.rotate(new.key.key_id, overlap=DAY, now=NOW)


def test_keys_are_listed_in_the_order_they_were_made(keys):
    names = ["c", "a", "b"]
    for number, name in enumerate(names):
        made(keys, name=name, now=NOW + number * DAY)
    keys.rotate(keys.all()[0].key_id, overlap=DAY, now=NOW)
    assert [key.name for key in keys.all()] == names


@pytest.mark.parametrize("change", ["revoke", "rotate"])
def test_an_unknown_key_is_named_and_where_to_look(keys, change):
    say = {
        "revoke": lambda: keys.revoke("key-none", now=NOW),
        "rotate": lambda: keys.rotate("key-none", overlap=DAY, now=NOW),
    }[change]
    with pytest.raises(ApiKeyError, match="No key was made in this workspace yet"):
        say()
    made(keys)
    with pytest.raises(ApiKeyError, match="There is no key 'key-none'"):
        say()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"name": " "}, "The name ' ' has to be"),
        ({"owner": "x" * 101}, "1 to 100 characters"),
        ({"name": "a\nb"}, "that can be read"),
        ({"expires_at": NOW}, "would have expired already"),
    ],
)
def test_a_key_that_says_nothing_or_is_over_is_not_made(keys, words, said):
    with pytest.raises(ApiKeyError, match=said):
        made(keys, **words)
    assert not keys.are_used


def test_a_role_that_there_is_not_leaves_nothing_behind(keys):
    with pytest.raises(RoleError, match="There is no role 'king'"):
        made(keys, role="king")
    assert not keys.are_used


def test_another_pepper_is_told_instead_of_refusing_every_key(tmp_path):
    with closing(ApiKeys(tmp_path, pepper="the pepper of the environment")) as keys:
        new = made(keys)
        assert not (tmp_path / PEPPER_FILE).exists()
    with (
        closing(ApiKeys(tmp_path, pepper="another, by mistake")) as keys,
        pytest.raises(ApiKeyError, match="made with another pepper"),
    ):
        keys.caller(new.secret, NOW)
    with (
        closing(ApiKeys(tmp_path)) as keys,
        pytest.raises(ApiKeyError, match=r"keys\.secret is missing"),
    ):
        keys.caller(new.secret, NOW)
    with closing(ApiKeys(tmp_path, pepper="the pepper of the environment")) as keys:
        assert keys.caller(new.secret, NOW) is not None


def test_a_pepper_that_was_cut_off_is_told(tmp_path):
    with closing(ApiKeys(tmp_path)) as keys:
        made(keys)
    (tmp_path / PEPPER_FILE).write_text("abc")
    with (
        closing(ApiKeys(tmp_path)) as keys,
        pytest.raises(ApiKeyError, match="fewer than 16 bytes: it was cut off"),
    ):
        assert keys.are_used


def test_a_file_that_is_no_database_takes_no_key(tmp_path):
    (tmp_path / KEYS_FILE).write_bytes(b"not a database, whatever its name says")
    with (
        closing(ApiKeys(tmp_path)) as keys,
        pytest.raises(ApiKeyError, match="cannot be read: file is not a database"),
    ):
        assert keys.are_used


def test_a_file_that_is_taken_away_takes_no_key(keys, tmp_path):
    new = made(keys)
    assert keys.caller(new.secret, NOW) is not None
    (tmp_path / KEYS_FILE).rename(tmp_path / "away.db")
    with pytest.raises(ApiKeyError, match="removed or replaced while the service ran"):
        keys.caller(new.secret, NOW)


def test_a_key_that_could_not_be_stored_is_not_there(keys, tmp_path):
    made(keys)
    with closing(sqlite3.connect(tmp_path / KEYS_FILE)) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON api_key_secrets "
            "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
        connection.commit()
    with pytest.raises(ApiKeyError, match="the disk is full"):
        made(keys, name="second")
    assert [key.name for key in keys.all()] == ["laptop"]


def test_a_command_is_done_by_the_owner_of_the_key(keys):
    new = made(keys, role="admin")
    for named in (None, "ann"):
        assert acting_as(keys, new.secret, named=named, needs="administer", now=NOW) == "ann"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"presented": "kw_other"}, "none of this workspace, or has ended"),
        ({"needs": "administer"}, "of role approver and may not administer"),
        ({"named": "bob"}, "--by names 'bob', and the key in KEEPWELL_KEY is of 'ann'"),
    ],
)
def test_a_command_is_not_done_in_the_name_of_another(keys, words, said):
    new = made(keys, role="approver")
    with pytest.raises(ApiKeyError, match=said):
        acting_as(
            keys,
            **{"presented": new.secret, "named": None, "needs": "approve", "now": NOW, **words},
        )


class TestLastUse:
    def test_it_is_noted_to_the_minute_and_survives_a_restart(self, tmp_path):
        with closing(ApiKeys(tmp_path)) as keys:
            new = keys.create(name="a", owner="ann", role="reader", now=NOW)
            other = keys.create(name="b", owner="bob", role="reader", now=NOW)
            assert [key.last_use for key in keys.all()] == ["never", "never"]
            at = NOW + timedelta(hours=1, minutes=2, seconds=40)
            assert keys.caller(new.secret, at) is not None
            assert keys.caller("kw_wrong", at) is None
        with closing(ApiKeys(tmp_path)) as keys:
            used = {key.key_id: key.last_used_at for key in keys.all()}
        assert used == {
            new.key.key_id: NOW + timedelta(hours=1, minutes=2),
            other.key.key_id: None,
        }

    def test_a_refused_key_was_not_used(self, tmp_path):
        with closing(ApiKeys(tmp_path)) as keys:
            new = keys.create(name="a", owner="ann", role="reader", now=NOW)
            keys.revoke(new.key.key_id, now=NOW)
            assert keys.caller(new.secret, NOW) is None
            keys.save_uses()
            assert [key.last_use for key in keys.all()] == ["never"]

    def test_of_two_processes_the_later_use_stays(self, tmp_path):
        with closing(ApiKeys(tmp_path)) as one, closing(ApiKeys(tmp_path)) as other:
            new = one.create(name="a", owner="ann", role="reader", now=NOW)
            assert one.caller(new.secret, NOW + timedelta(minutes=9)) is not None
            assert other.caller(new.secret, NOW + timedelta(minutes=5)) is not None
            one.save_uses()
            other.save_uses()
            [key] = one.all()
        assert key.last_used_at == NOW + timedelta(minutes=9)

    def test_a_thousand_requests_in_a_minute_are_one_write(self, tmp_path):
        with (
            closing(ApiKeys(tmp_path)) as keys,
            closing(sqlite3.connect(tmp_path / KEYS_FILE)) as seen,
        ):
            new = keys.create(name="a", owner="ann", role="reader", now=NOW)

            def version() -> int:
                return int(seen.execute("PRAGMA data_version").fetchone()[0])

            before = version()
            for number in range(1_000):
                assert keys.caller(new.secret, NOW + timedelta(milliseconds=number)) is not None
            assert version() == before
            keys.save_uses()
            after = version()
            assert after != before
            keys.save_uses()
            assert version() == after

    def test_of_a_key_from_before_uses_were_noted_nobody_knows(self, tmp_path):
        with closing(ApiKeys(tmp_path)) as keys:
            new = keys.create(name="a", owner="ann", role="reader", now=NOW)
        with closing(sqlite3.connect(tmp_path / KEYS_FILE)) as older, older:
            older.execute("DROP TABLE api_key_uses")
        with closing(ApiKeys(tmp_path)) as keys:
            assert [key.last_use for key in keys.all()] == ["not known"]
            assert keys.caller(new.secret, NOW) is not None
            keys.save_uses()
            assert [key.last_used_at for key in keys.all()] == [NOW]

    def test_keys_that_are_gone_are_not_made_again_by_noting_a_use(self, tmp_path):
        with closing(ApiKeys(tmp_path)) as keys:
            new = keys.create(name="a", owner="ann", role="reader", now=NOW)
            assert keys.caller(new.secret, NOW) is not None
            for file in tmp_path.glob(f"{KEYS_FILE}*"):
                file.unlink()
            with pytest.raises(ApiKeyError, match="removed or replaced"):
                keys.save_uses()
        assert not (tmp_path / KEYS_FILE).exists()
