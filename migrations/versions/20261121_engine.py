"""the sending engine: journals of claims, runs served in turn, replies to the owner

Revision ID: b41d7c9a2e10
Revises: 3f1c0e7d52aa
Create Date: 2026-11-21 10:30:00

"""
from alembic import op
import sqlalchemy as sa


revision = 'b41d7c9a2e10'
down_revision = '3f1c0e7d52aa'
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table('claim', schema=None) as batch_op:
        batch_op.drop_column('size')
        batch_op.add_column(sa.Column('journal', sa.String(length=100), server_default='', nullable=False))
    with op.batch_alter_table('run', schema=None) as batch_op:
        batch_op.add_column(sa.Column('last_claim', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True))
        batch_op.add_column(sa.Column('reply_to', sa.String(length=320), server_default='', nullable=False))


def downgrade():
    with op.batch_alter_table('run', schema=None) as batch_op:
        batch_op.drop_column('reply_to')
        batch_op.drop_column('last_claim')
    with op.batch_alter_table('claim', schema=None) as batch_op:
        batch_op.drop_column('journal')
        batch_op.add_column(sa.Column('size', sa.SmallInteger(), server_default='0', nullable=False))
