"""what of the counted views has reached the articles

Revision ID: e7a94b20c6d1
Revises: d63f9e1c4a32
Create Date: 2026-11-21 13:05:00

"""
import sqlalchemy as sa
from alembic import op

revision = "e7a94b20c6d1"
down_revision = "d63f9e1c4a32"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "view_batch",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_view_batch")),
    )
    op.create_index(op.f("ix_view_batch_added_at"), "view_batch", ["added_at"])


def downgrade():
    op.drop_table("view_batch")
