"""Opening a review's store: an SQLite file, or a PostgreSQL database by URL."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from unface.errors import InputError, one_line

_CONNECTIONS = 20
_BUSY_MS = 20_000


class Store:
    """A review's database.

    Reading and writing are of their own kind: `with store.write() as session` is a transaction that commits at its
    end, or leaves nothing behind. SQLite has one writer at a time: within a process they queue up fairly here, rather
    than poll the file's lock.
    """

    def __init__(self, url: URL) -> None:
        self.url = url
        self.engine = _engine(url)
        # each statement by itself: PostgreSQL's default isolation promises a look no more, and this saves its frame
        self._looks = self.engine if _is_file(url) else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._turn = threading.Lock() if url.get_backend_name() == "sqlite" else nullcontext()

    @property
    def name(self) -> str:
        """The store for people; a password is not shown."""
        return one_line(str(self.url.database) if _is_file(self.url) else self.url.render_as_string())

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A look that changes nothing."""
        with Session(self._looks) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One change, whole or not at all."""
        with self._turn, Session(self.engine.execution_options(writes=True)) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_store(place: str, create: bool = False) -> Store:
    """Open a store and bring its tables up to date.

    Args:
        place: Path of an SQLite file, or a URL such as `postgresql://user@host/database`.
        create: Make it if it is not there.

    Raises:
        InputError: No such store, no database, or one that a newer unface made.
    """
    url = _url(place)
    if _is_file(url) and not create and not Path(str(url.database)).is_file():
        raise InputError(f"{one_line(place)}: expected the store of a review, found nothing there")
    store = Store(url)
    try:
        migrate(store, create=create)
    except DBAPIError as error:
        store.close()
        raise InputError(f"{store.name}: expected a database that can be used: {_reason(error)}") from None
    except InputError:
        store.close()
        raise
    return store


def migrate(store: Store, to: str = "head", create: bool = True) -> None:
    """Move the tables to a version, up or down, in one transaction.

    Raises:
        InputError: Made by a newer unface, or no review's store (where it is not to be created).
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    with store.engine.execution_options(writes=True).begin() as connection:
        _wait_for_others(connection)
        at = MigrationContext.configure(connection).get_current_revision()
        if at is None and not create:
            raise InputError(f"{store.name}: expected the store of a review, got another or an empty database")
        if at is not None and at not in {script.revision for script in scripts.walk_revisions()}:
            raise InputError(f"{store.name}: made by a newer unface (version {at} of its tables)")
        if at == scripts.get_current_head() and to == "head":
            return
        config.attributes["connection"] = connection
        (command.downgrade if to != "head" and at is not None else command.upgrade)(config, to)


def new_name() -> str:
    """A random name for a review."""
    return secrets.token_hex(16)


def _url(place: str) -> URL:
    if "://" not in place:
        return URL.create("sqlite", database=place)
    try:
        url = make_url(place)
    except ArgumentError:
        raise InputError("store: expected a path or a URL such as postgresql://user@host/database") from None
    backend = url.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and url.database:
        return url
    raise InputError(f"store: expected a path or a postgresql:// URL, got {one_line(url.drivername)}://…")


def _is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _engine(url: URL) -> Engine:
    if not _is_file(url):
        return create_engine(url, pool_size=_CONNECTIONS, max_overflow=0)
    engine = create_engine(url, pool_size=_CONNECTIONS, max_overflow=0, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not where the driver thinks
    for setting in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _wait_for_others(connection: Connection) -> None:
    """Let one process at a time migrate; SQLite's write transaction does so by itself."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('unface review'))")


def _reason(error: DBAPIError) -> str:
    return one_line(str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else error)
