"""pictures of letters beside those of articles; drafts of messages

Revision ID: e5a8cbd34f65
Revises: a1c4e7f90b21
Create Date: 2026-11-21 16:30:00

"""
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "e5a8cbd34f65"
down_revision = "a1c4e7f90b21"
branch_labels = None
depends_on = None

FORMATS = sa.Enum("webp", "jpg", "png", name="pictureformat", native_enum=False, length=20)


def upgrade():
    with op.batch_alter_table("picture") as batch:
        batch.add_column(sa.Column("format", FORMATS, server_default="webp", nullable=False))
        batch.add_column(sa.Column("weight", sa.Integer(), server_default="0", nullable=False))
        batch.add_column(sa.Column("used_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE picture SET weight = (SELECT coalesce(sum(length(image)), 0) FROM picture_size"
        " WHERE picture_size.picture_id = picture.id)"
    )
    with op.batch_alter_table("picture") as batch:
        batch.alter_column("format", server_default=None)
        batch.alter_column("weight", server_default=None)
    op.create_table(
        "message_draft",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Integer(), nullable=True),
        sa.Column("fields", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_message_draft_message_id_message"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["user.id"], name=op.f("fk_message_draft_owner_id_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_draft")),
    )
    op.create_index("ix_message_draft_of_owner", "message_draft", ["owner_id", "id"])
    op.create_index(op.f("ix_message_draft_message_id"), "message_draft", ["message_id"])


def downgrade():
    op.drop_table("message_draft")
    # What letters show would have no place in the older table.
    op.execute("DELETE FROM picture_size WHERE picture_id IN (SELECT id FROM picture WHERE format <> 'webp')")
    op.execute("DELETE FROM picture WHERE format <> 'webp'")
    with op.batch_alter_table("picture") as batch:
        batch.drop_column("used_at")
        batch.drop_column("weight")
        batch.drop_column("format")
