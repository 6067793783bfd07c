"""The tables of a review's store."""

from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, Index, MetaData, String, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

Structs = list[dict[str, Any]]
"""Boxes as `Faces.structs` writes them."""

Role = Literal["worker", "reviewer", "admin"]
State = Literal["open", "submitted", "expired", "returned"]
Decision = Literal["ask", "asked", "agreed", "adjudicate", "adjudicated"]

LIVE = ("open", "submitted")
"""States of an assignment that takes its slot."""

_LIVE = text("state IN ('open', 'submitted')")


class Utc(TypeDecorator[datetime]):
    """A moment in UTC, aware in Python; SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables, their constraints named alike in every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {Structs: JSON(none_as_null=True), dict[str, Any]: JSON, datetime: Utc}  # noqa: RUF012


class Review(Base):
    """The review; one row.

    `link_key` signs the links to images: it opens nothing without the server.
    """

    __tablename__ = "review"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]
    source: Mapped[str]
    policy: Mapped[dict[str, Any]]
    provenance: Mapped[dict[str, Any]]
    link_key: Mapped[str] = mapped_column(String(64))
    unface_version: Mapped[str] = mapped_column(String(32))


class Image(Base):
    """One image of FACES as it came, the truth if it is gold, and what is decided about it.

    `decision` is None until `replicas` workers have answered, then `ask` (one more worker), `asked` (one more works
    on it), `agreed`, `adjudicate` (a reviewer must decide) or `adjudicated`.
    """

    __tablename__ = "image"
    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(unique=True)
    width: Mapped[int]
    height: Mapped[int]
    status: Mapped[str] = mapped_column(String(16))
    boxes: Mapped[Structs]
    candidates: Mapped[Structs | None]
    truth: Mapped[Structs | None]
    uncertainty: Mapped[float]
    decision: Mapped[Decision | None] = mapped_column(String(16), index=True)
    agreement: Mapped[float | None]


class Task(Base):
    """Some images for one worker at a time; `followup` asks one more worker about images in dispute."""

    __tablename__ = "task"
    id: Mapped[int] = mapped_column(primary_key=True)
    followup: Mapped[bool]


class Item(Base):
    """One place of a task; `start` are the boxes to begin with where these are not the image's own (gold)."""

    __tablename__ = "item"
    __table_args__ = (UniqueConstraint("task_id", "position"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"))
    position: Mapped[int]
    image_pk: Mapped[int] = mapped_column(ForeignKey("image.id"), index=True)
    gold: Mapped[bool]
    start: Mapped[Structs | None]


class Slot(Base):
    """One of the places for workers that a task has."""

    __tablename__ = "slot"
    __table_args__ = (UniqueConstraint("task_id", "replica"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"))
    replica: Mapped[int]


class Account(Base):
    """Somebody who may come in, as `worker`, `reviewer` or `admin`."""

    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    role: Mapped[Role] = mapped_column(String(16))
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class Token(Base):
    """What an account comes in with: only its SHA-256 is kept (it has 256 random bits)."""

    __tablename__ = "token"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class Assignment(Base):
    """A worker at a slot: `open`, `submitted`, `expired` (taken away after no answer) or `returned`."""

    __tablename__ = "assignment"
    __table_args__ = (
        Index("uq_assignment_live_slot", "slot_id", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),
        Index(
            "uq_assignment_live_worker",
            "task_id",
            "account_id",
            unique=True,
            sqlite_where=_LIVE,
            postgresql_where=_LIVE,
        ),
        Index("ix_assignment_account_id_state", "account_id", "state"),
        Index("ix_assignment_state_expires_at", "state", "expires_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    slot_id: Mapped[int] = mapped_column(ForeignKey("slot.id"))
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"))
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    state: Mapped[State] = mapped_column(String(16))
    attempt: Mapped[int]
    lives: Mapped[int]
    taken_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Answer(Base):
    """One version of a worker's answer on one item; rows are only ever added (triggers see to it).

    `passed` and `score` are the verdict on gold, None elsewhere and on later versions; `attempt_after` and
    `lives_after` are the assignment's once the answer was judged; `key` is the page's own, so that an answer sent
    twice is kept once.
    """

    __tablename__ = "answer"
    __table_args__ = (
        UniqueConstraint("assignment_id", "key"),
        UniqueConstraint("assignment_id", "item_id", "attempt", "version"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignment.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), index=True)
    attempt: Mapped[int]
    version: Mapped[int]
    key: Mapped[str] = mapped_column(String(64))
    boxes: Mapped[Structs]
    seconds: Mapped[float]
    answered_at: Mapped[datetime]
    passed: Mapped[bool | None]
    score: Mapped[float | None]
    attempt_after: Mapped[int]
    lives_after: Mapped[int]
    unface_version: Mapped[str] = mapped_column(String(32))


class Adjudication(Base):
    """A reviewer's decision on an image; rows are only ever added, the latest counts."""

    __tablename__ = "adjudication"
    __table_args__ = (UniqueConstraint("account_id", "key"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    image_pk: Mapped[int] = mapped_column(ForeignKey("image.id"), index=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    key: Mapped[str] = mapped_column(String(64))
    boxes: Mapped[Structs]
    decided_at: Mapped[datetime]


class Event(Base):
    """What admins did: `pause` or `resume`; rows are only ever added, the latest counts."""

    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    kind: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime]


class Campaign(Base):
    """The review's work on Mechanical Turk; one row. Money is in cents of a US dollar."""

    __tablename__ = "campaign"
    id: Mapped[int] = mapped_column(primary_key=True)
    endpoint: Mapped[str]
    url: Mapped[str]
    hit_type_id: Mapped[str] = mapped_column(String(64))
    reward_cents: Mapped[int]
    bonus_cents: Mapped[int]
    budget_cents: Mapped[int]
    created_at: Mapped[datetime]


class Hit(Base):
    """A task offered on Mechanical Turk: reserved before it is made there, so that a crash cannot make it twice.

    `hit_id` is None until Mechanical Turk has told it; `reserved_cents` is the most it may cost, fees included.
    """

    __tablename__ = "hit"
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"), primary_key=True)
    request_token: Mapped[str] = mapped_column(String(64), unique=True)
    hit_id: Mapped[str | None] = mapped_column(String(64), unique=True)
    assignments: Mapped[int]
    reserved_cents: Mapped[int]
    reserved_at: Mapped[datetime]
    expired_at: Mapped[datetime | None]


class Turk(Base):
    """A Mechanical Turk worker's assignment of a HIT, and ours that belongs to it.

    `status` is Mechanical Turk's: None until collected, then `Submitted`, `Approved` or `Rejected`. `bonus_cents` is
    set before a bonus is sent, `bonus_sent_at` after.
    """

    __tablename__ = "turk"
    turk_assignment_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    turk_worker_id: Mapped[str] = mapped_column(String(64))
    task_id: Mapped[int] = mapped_column(ForeignKey("hit.task_id"), index=True)
    assignment_id: Mapped[int | None] = mapped_column(ForeignKey("assignment.id"))
    status: Mapped[str | None] = mapped_column(String(16))
    bonus_cents: Mapped[int]
    bonus_sent_at: Mapped[datetime | None]


APPEND_ONLY = ("answer", "adjudication", "event")
"""Tables whose rows no statement may change or delete."""
