"""The first version of the store's tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_LIVE = sa.text("state IN ('open', 'submitted')")
_APPEND_ONLY = ("answer", "adjudication", "event")
_TABLES = (
    "account",
    "image",
    "review",
    "task",
    "adjudication",
    "event",
    "item",
    "slot",
    "token",
    "assignment",
    "answer",
)


def upgrade() -> None:
    """Make the tables, and the triggers that keep rows from being changed or deleted."""
    op.create_table(
        "account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.UniqueConstraint("name", name="uq_account_name"),
    )
    op.create_table(
        "image",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.String(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("boxes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("candidates", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("truth", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("uncertainty", sa.Double(), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=True),
        sa.Column("agreement", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_image"),
        sa.UniqueConstraint("image_id", name="uq_image_image_id"),
    )
    op.create_index("ix_image_decision", "image", ["decision"], unique=False)
    op.create_table(
        "review",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("link_key", sa.String(length=64), nullable=False),
        sa.Column("unface_version", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_review"),
    )
    op.create_table(
        "task",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("followup", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_task"),
    )
    op.create_table(
        "adjudication",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("image_pk", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("boxes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_adjudication_account_id_account"),
        sa.ForeignKeyConstraint(["image_pk"], ["image.id"], name="fk_adjudication_image_pk_image"),
        sa.PrimaryKeyConstraint("id", name="pk_adjudication"),
        sa.UniqueConstraint("account_id", "key", name="uq_adjudication_account_id_key"),
    )
    op.create_index("ix_adjudication_image_pk", "adjudication", ["image_pk"], unique=False)
    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_event_account_id_account"),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
    )
    op.create_table(
        "item",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("image_pk", sa.Integer(), nullable=False),
        sa.Column("gold", sa.Boolean(), nullable=False),
        sa.Column("start", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["image_pk"], ["image.id"], name="fk_item_image_pk_image"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_item_task_id_task"),
        sa.PrimaryKeyConstraint("id", name="pk_item"),
        sa.UniqueConstraint("task_id", "position", name="uq_item_task_id_position"),
    )
    op.create_index("ix_item_image_pk", "item", ["image_pk"], unique=False)
    op.create_table(
        "slot",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("replica", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_slot_task_id_task"),
        sa.PrimaryKeyConstraint("id", name="pk_slot"),
        sa.UniqueConstraint("task_id", "replica", name="uq_slot_task_id_replica"),
    )
    op.create_table(
        "token",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_token_account_id_account"),
        sa.PrimaryKeyConstraint("sha256", name="pk_token"),
    )
    op.create_index("ix_token_account_id", "token", ["account_id"], unique=False)
    op.create_table(
        "assignment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("slot_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lives", sa.Integer(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_assignment_account_id_account"),
        sa.ForeignKeyConstraint(["slot_id"], ["slot.id"], name="fk_assignment_slot_id_slot"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_assignment_task_id_task"),
        sa.PrimaryKeyConstraint("id", name="pk_assignment"),
    )
    op.create_index("ix_assignment_account_id_state", "assignment", ["account_id", "state"], unique=False)
    op.create_index("ix_assignment_state_expires_at", "assignment", ["state", "expires_at"], unique=False)
    op.create_index(
        "uq_assignment_live_slot", "assignment", ["slot_id"], unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE
    )
    op.create_index(
        "uq_assignment_live_worker",
        "assignment",
        ["task_id", "account_id"],
        unique=True,
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    )
    op.create_table(
        "answer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("assignment_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("boxes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("attempt_after", sa.Integer(), nullable=False),
        sa.Column("lives_after", sa.Integer(), nullable=False),
        sa.Column("unface_version", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["assignment_id"], ["assignment.id"], name="fk_answer_assignment_id_assignment"),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name="fk_answer_item_id_item"),
        sa.PrimaryKeyConstraint("id", name="pk_answer"),
        sa.UniqueConstraint(
            "assignment_id", "item_id", "attempt", "version", name="uq_answer_assignment_id_item_id_attempt_version"
        ),
        sa.UniqueConstraint("assignment_id", "key", name="uq_answer_assignment_id_key"),
    )
    op.create_index("ix_answer_item_id", "answer", ["item_id"], unique=False)
    for table in _APPEND_ONLY:
        _forbid_changes(table)


def downgrade() -> None:
    """Drop everything."""
    for table in reversed(_TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")


def _forbid_changes(table: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'rows of % are only ever added', TG_TABLE_NAME; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "EXECUTE FUNCTION refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are only ever added'); END"
        )
