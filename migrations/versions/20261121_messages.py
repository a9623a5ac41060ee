"""messages: preview text, and the versions that were saved

Revision ID: f85b1e3c7d60
Revises: e74a0f2d5b43
Create Date: 2026-11-21 14:10:00

"""
import sqlalchemy as sa
from alembic import op

revision = "f85b1e3c7d60"
down_revision = "e74a0f2d5b43"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table("message") as batch:
        batch.add_column(sa.Column("preheader", sa.String(length=200), server_default="", nullable=False))
    with op.batch_alter_table("message") as batch:
        batch.alter_column("preheader", server_default=None)
    op.create_table(
        "message_version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by_id", sa.Integer(), nullable=True),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("preheader", sa.String(length=200), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["by_id"], ["user.id"], name=op.f("fk_message_version_by_id_user"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_message_version_message_id_message"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_version")),
    )
    op.create_index("ix_message_version_of_message", "message_version", ["message_id", "id"])
    op.create_index(op.f("ix_message_version_by_id"), "message_version", ["by_id"])


def downgrade():
    op.drop_table("message_version")
    with op.batch_alter_table("message") as batch:
        batch.drop_column("preheader")
