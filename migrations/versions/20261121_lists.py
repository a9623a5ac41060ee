"""lists: what is deleted can come back for a while, and the orders that lists are shown in

Revision ID: a1c4e7f90b21
Revises: c3e6a9b12d43
Create Date: 2026-11-21 16:20:00

"""
import sqlalchemy as sa
from alembic import op

revision = "a1c4e7f90b21"
down_revision = "c3e6a9b12d43"
branch_labels = None
depends_on = None

THERE = sa.text("deleted_at IS NULL")
DELETED = sa.text("deleted_at IS NOT NULL")


def partial(name, table, columns, where, unique=False):
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def upgrade():
    with op.batch_alter_table("client") as batch:
        batch.add_column(sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
        batch.drop_constraint("uq_client_owner_id_email_key", type_="unique")
    partial("uq_client_owner_id_email_key", "client", ["owner_id", "email_key"], THERE, unique=True)
    partial("ix_client_deleted", "client", ["deleted_at"], DELETED)
    with op.batch_alter_table("segment") as batch:
        batch.add_column(sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    partial("ix_message_by_subject", "message", ["owner_id", "subject", "id"], THERE)
    partial("ix_message_by_change", "message", ["owner_id", "updated_at", "id"], THERE)
    partial("ix_message_deleted", "message", ["deleted_at"], DELETED)
    partial("ix_mailing_by_name", "mailing", ["owner_id", "name", "id"], THERE)
    partial("ix_mailing_deleted", "mailing", ["deleted_at"], DELETED)


def downgrade():
    op.drop_index("ix_mailing_deleted", table_name="mailing")
    op.drop_index("ix_mailing_by_name", table_name="mailing")
    op.drop_index("ix_message_deleted", table_name="message")
    op.drop_index("ix_message_by_change", table_name="message")
    op.drop_index("ix_message_by_subject", table_name="message")
    # Without the column they would be there again, and some of them twice. What refers to them knows what to do.
    op.execute("DELETE FROM client_tag WHERE client_id IN (SELECT id FROM client WHERE deleted_at IS NOT NULL)")
    op.execute("DELETE FROM mailing_client WHERE client_id IN (SELECT id FROM client WHERE deleted_at IS NOT NULL)")
    gone = "SELECT id FROM client WHERE deleted_at IS NOT NULL"
    op.execute(f"UPDATE delivery SET client_id = NULL WHERE client_id IN ({gone})")
    op.execute("DELETE FROM client WHERE deleted_at IS NOT NULL")
    used = "SELECT 1 FROM mailing WHERE segment.id IN (mailing.segment_id, mailing.exclude_segment_id)"
    op.execute(f"DELETE FROM segment WHERE deleted_at IS NOT NULL AND NOT EXISTS ({used})")
    with op.batch_alter_table("segment") as batch:
        batch.drop_column("deleted_at")
    op.drop_index("ix_client_deleted", table_name="client")
    op.drop_index("uq_client_owner_id_email_key", table_name="client")
    with op.batch_alter_table("client") as batch:
        batch.create_unique_constraint("uq_client_owner_id_email_key", ["owner_id", "email_key"])
        batch.drop_column("deleted_at")
