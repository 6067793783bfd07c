"""Work on Mechanical Turk."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "campaign",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("hit_type_id", sa.String(length=64), nullable=False),
        sa.Column("reward_cents", sa.Integer(), nullable=False),
        sa.Column("bonus_cents", sa.Integer(), nullable=False),
        sa.Column("budget_cents", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_campaign"),
    )
    op.create_table(
        "hit",
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("request_token", sa.String(length=64), nullable=False),
        sa.Column("hit_id", sa.String(length=64), nullable=True),
        sa.Column("assignments", sa.Integer(), nullable=False),
        sa.Column("reserved_cents", sa.Integer(), nullable=False),
        sa.Column("reserved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_hit_task_id_task"),
        sa.PrimaryKeyConstraint("task_id", name="pk_hit"),
        sa.UniqueConstraint("hit_id", name="uq_hit_hit_id"),
        sa.UniqueConstraint("request_token", name="uq_hit_request_token"),
    )
    op.create_table(
        "turk",
        sa.Column("turk_assignment_id", sa.String(length=64), nullable=False),
        sa.Column("turk_worker_id", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("assignment_id", sa.Integer(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=True),
        sa.Column("bonus_cents", sa.Integer(), nullable=False),
        sa.Column("bonus_sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["assignment_id"], ["assignment.id"], name="fk_turk_assignment_id_assignment"),
        sa.ForeignKeyConstraint(["task_id"], ["hit.task_id"], name="fk_turk_task_id_hit"),
        sa.PrimaryKeyConstraint("turk_assignment_id", name="pk_turk"),
    )
    op.create_index("ix_turk_task_id", "turk", ["task_id"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("turk", "hit", "campaign"):
        op.drop_table(table)
