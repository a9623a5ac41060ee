"""log: attempts know their owner, and are found by time, outcome and code

Revision ID: f6b9dce45a76
Revises: f85b1e3c7d60
Create Date: 2026-11-21 16:30:00

"""
import sqlalchemy as sa
from alembic import op

revision = "f6b9dce45a76"
down_revision = "f85b1e3c7d60"
branch_labels = None
depends_on = None

TROUBLED = "outcome != 'sent'"
KEY = sa.String(length=320).with_variant(sa.String(length=320, collation="C"), "postgresql")
NOT_SENT = "status IN ('failed', 'unknown', 'skipped')"
TROUBLED_INDEXES = {
    "ix_attempt_troubled": ["at", "id"],
    "ix_attempt_troubled_by_outcome": ["outcome", "at", "id"],
    "ix_attempt_troubled_by_code": ["code", "at", "id"],
    "ix_attempt_troubled_of_owner": ["owner_id", "outcome", "at", "id"],
    "ix_attempt_troubled_of_owner_by_code": ["owner_id", "code", "at", "id"],
    "ix_attempt_troubled_of_run": ["run_id", "at", "id"],
}
INDEXES = {
    "ix_attempt_at": ["at", "id"],
    "ix_attempt_of_owner": ["owner_id", "at", "id"],
    "ix_attempt_of_run": ["run_id", "at", "id"],
}


def upgrade():
    op.drop_index("ix_attempt_troubled", "attempt")
    op.drop_index("ix_attempt_of_run", "attempt")
    op.add_column("attempt", sa.Column("owner_id", sa.Integer(), nullable=True))
    op.execute("UPDATE attempt SET owner_id = (SELECT run.owner_id FROM run WHERE run.id = attempt.run_id)")
    with op.batch_alter_table("attempt") as batch:
        batch.alter_column("owner_id", nullable=False)
    for name, columns in INDEXES.items():
        op.create_index(name, "attempt", columns)
    for name, columns in TROUBLED_INDEXES.items():
        _create_partial(name, "attempt", columns, TROUBLED)
    _create_partial("ix_delivery_troubled", "delivery", ["run_id", "status", "id"], NOT_SENT)
    operators = {"email": "text_pattern_ops"}
    _create_partial("ix_delivery_orphaned", "delivery", ["email"], "client_id IS NULL", postgresql_ops=operators)
    _collate_keys("C")
    op.create_table(
        "client_former_address",
        sa.Column("client_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("email_key", KEY, nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["client.id"], name=op.f("fk_client_former_address_client_id_client"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["user.id"], name=op.f("fk_client_former_address_owner_id_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("client_id", "email_key", name=op.f("pk_client_former_address")),
    )
    op.create_index("ix_client_former_address_of_owner", "client_former_address", ["owner_id", "email_key"])


def downgrade():
    op.drop_table("client_former_address")
    _collate_keys("default")
    op.drop_index("ix_delivery_orphaned", "delivery")
    op.drop_index("ix_delivery_troubled", "delivery")
    for name in (*TROUBLED_INDEXES, *INDEXES):
        op.drop_index(name, "attempt")
    with op.batch_alter_table("attempt") as batch:
        batch.drop_column("owner_id")
    op.create_index("ix_attempt_of_run", "attempt", ["run_id", "id"])
    _create_partial("ix_attempt_troubled", "attempt", ["id"], TROUBLED)


def _create_partial(name, table, columns, where, **options):
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where), **options)


def _collate_keys(collation):
    """SQLite compares byte by byte anyway."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f'ALTER TABLE client ALTER COLUMN email_key TYPE varchar(320) COLLATE "{collation}"')
