from datetime import timedelta

import pytest

from review.reviews import NOON, add
from unface.review.accounts import Known, account_of, issue_token, revoke_tokens
from unface.review.tables import Account

HOUR = timedelta(hours=1)


@pytest.fixture
def ann(store) -> Account:
    return add(store, "Ann")


def token_of(store, account, valid=HOUR) -> str:
    with store.write() as session:
        return issue_token(session, account, NOON, valid)


def looked_up(store, token, now):
    with store.read() as session:
        found = account_of(session, token, now)
    return found and found.name


@pytest.mark.parametrize("seconds", [0, 5, 29, 31, 59, 61, 3599, 3600, 9999])
def test_what_is_known_is_what_the_store_says(store, ann, seconds):
    known, token = Known(), token_of(store, ann)
    assert known.account_of(store, token, NOON).name == "Ann"
    now = NOON + timedelta(seconds=seconds)
    found = known.account_of(store, token, now)
    assert (found and found.name) == looked_up(store, token, now)
    assert known.account_of(store, "nobody's", now) is None
    assert known.account_of(store, "", now) is None


def test_a_token_that_ends_within_the_time_is_not_known_longer(store, ann):
    known, token = Known(), token_of(store, ann, timedelta(seconds=10))
    assert known.account_of(store, token, NOON)
    assert known.account_of(store, token, NOON + timedelta(seconds=9))
    assert known.account_of(store, token, NOON + timedelta(seconds=10)) is None


def test_a_token_that_was_revoked_elsewhere_ends_within_half_a_minute_and_here_at_once(store, ann):
    known, elsewhere, token = Known(), Known(), token_of(store, ann)
    for each in (known, elsewhere):
        assert each.account_of(store, token, NOON)
    with store.write() as session:
        revoke_tokens(session, ann, NOON)
    known.forget()
    assert known.account_of(store, token, NOON) is None
    assert elsewhere.account_of(store, token, NOON + timedelta(seconds=30)) is None


def test_a_look_that_began_before_a_change_is_not_remembered(store, ann):
    token = token_of(store, ann)

    class Slow(type(store)):
        """While its answer is on the way, the token is revoked."""

        def __init__(self) -> None:
            pass

        def read(self):
            found = store.read()
            known.forget()
            return found

    known = Known()
    assert known.account_of(Slow(), token, NOON)
    with store.write() as session:
        revoke_tokens(session, ann, NOON)
    assert known.account_of(store, token, NOON) is None


def test_questions_of_many_do_not_fill_the_memory(store, ann, monkeypatch):
    monkeypatch.setattr("unface.review.accounts._MOST_KNOWN", 3)
    known = Known()
    for _ in range(8):
        assert known.account_of(store, token_of(store, ann), NOON)
    assert len(known._found) <= 3
