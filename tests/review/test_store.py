from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from unface.errors import InputError
from unface.review.store import migrate, open_store
from unface.review.tables import APPEND_ONLY, Account, Base, Event, Image

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_the_migrations_make_the_tables_that_the_code_expects(store):
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_down_to_nothing_and_up_again(store):
    def tables():
        return set(inspect(store.engine).get_table_names()) - {"alembic_version"}

    before = tables()
    assert before == set(Base.metadata.tables)
    migrate(store, "base")
    assert tables() == set()
    if store.engine.dialect.name == "postgresql":
        with store.engine.connect() as connection:
            assert not connection.execute(text("SELECT 1 FROM pg_proc WHERE proname = 'refuse_change'")).all()
    migrate(store)
    assert tables() == before
    test_the_migrations_make_the_tables_that_the_code_expects(store)


def add_account(store, name="ann"):
    with store.write() as session:
        session.add(Account(name=name, role="admin", created_at=NOON))


@pytest.mark.parametrize("change", ["UPDATE event SET kind = 'resume'", "DELETE FROM event"])
def test_what_was_said_stays_said(store, change):
    add_account(store)
    with store.write() as session:
        session.add(Event(account_id=1, kind="pause", at=NOON))
    with pytest.raises(DBAPIError, match="only ever added"), store.write() as session:
        session.execute(text(change))
    with store.read() as session:
        assert session.get_one(Event, 1).kind == "pause"


def test_every_table_of_record_is_guarded(store):
    sql = (
        "SELECT DISTINCT event_object_table FROM information_schema.triggers"
        if store.engine.dialect.name == "postgresql"
        else "SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'trigger'"
    )
    with store.engine.connect() as connection:
        assert set(connection.execute(text(sql)).scalars()) == set(APPEND_ONLY)


def test_a_change_that_fails_leaves_nothing(store):
    def two():
        with store.write() as session:
            session.add(Account(name="ann", role="admin", created_at=NOON))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        two()
    with store.read() as session:
        assert session.get(Account, 1) is None


def test_moments_keep_their_instant_and_nulls_are_nulls(store):
    east = datetime(2026, 5, 4, 15, 30, 0, 123456, tzinfo=timezone(timedelta(hours=3)))
    with store.write() as session:
        session.add(Account(name="é'\"; DROP TABLE image; --", role="worker", created_at=east))
        session.add(Image(image_id="a", width=1, height=1, status="detected", boxes=[], uncertainty=0.0))
    with store.read() as session:
        assert session.get_one(Account, 1).created_at == east
        assert session.execute(text("SELECT count(*) FROM image WHERE truth IS NULL")).scalar() == 1


def test_opening_again_changes_nothing(store, place):
    add_account(store)
    again = open_store(place)
    with again.read() as session:
        assert session.get_one(Account, 1).name == "ann"
    again.close()


def test_a_newer_store_is_refused(store, place):
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InputError, match=r"made by a newer unface \(version 9999"):
        open_store(place)


def test_an_empty_database_is_no_store(place, tmp_path):
    if "://" not in place:
        (tmp_path / "review.db").touch()
    with pytest.raises(InputError, match="expected the store of a review"):
        open_store(place)


@pytest.mark.parametrize("wrong", ["{tmp}/nowhere.db", "mysql://u@h/d", "http://x", "postgresql://[", "sqlite://"])
def test_what_is_no_store_is_refused(wrong, tmp_path):
    with pytest.raises(InputError):
        open_store(wrong.format(tmp=tmp_path))


def test_another_file_is_refused(tmp_path):
    (tmp_path / "photo.db").write_bytes(b"\xff\xd8\xff" * 1000)
    with pytest.raises(InputError, match=r"photo\.db: expected a database that can be used"):
        open_store(str(tmp_path / "photo.db"))


def test_a_password_is_not_shown():
    with pytest.raises(InputError) as refused:
        open_store("postgresql://ann:hunter2@127.0.0.1:1/review?connect_timeout=2")
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)
