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
        batch_op.drop_index(batch_op.f('ix_claim_run_id'))
        batch_op.drop_constraint(batch_op.f('fk_claim_run_id_run'), type_='foreignkey')
        batch_op.drop_column('run_id')
        batch_op.drop_column('size')
    with op.batch_alter_table('claim', schema=None) as batch_op:
        batch_op.add_column(sa.Column('journal', sa.String(length=100), server_default='', nullable=False))
    with op.batch_alter_table('run', schema=None) as batch_op:
        batch_op.add_column(sa.Column('last_claim', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True))
        batch_op.add_column(sa.Column('reply_to', sa.String(length=320), server_default='', nullable=False))
    # The default was for the rows that are there.
    with op.batch_alter_table('claim', schema=None) as batch_op:
        batch_op.alter_column('journal', server_default=None)
    with op.batch_alter_table('run', schema=None) as batch_op:
        batch_op.alter_column('reply_to', server_default=None)


def downgrade():
    with op.batch_alter_table('run', schema=None) as batch_op:
        batch_op.drop_column('reply_to')
        batch_op.drop_column('last_claim')
    with op.batch_alter_table('claim', schema=None) as batch_op:
        batch_op.drop_column('journal')
    with op.batch_alter_table('claim', schema=None) as batch_op:
        batch_op.add_column(sa.Column('run_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True))
        batch_op.add_column(sa.Column('size', sa.SmallInteger(), server_default='0', nullable=False))
    op.execute('UPDATE claim SET run_id = (SELECT min(run_id) FROM delivery WHERE claim_id = claim.id)')
    op.execute('DELETE FROM claim WHERE run_id IS NULL')
    with op.batch_alter_table('claim', schema=None) as batch_op:
        batch_op.alter_column('run_id', nullable=False)
        batch_op.create_foreign_key(batch_op.f('fk_claim_run_id_run'), 'run', ['run_id'], ['id'], ondelete='CASCADE')
        batch_op.create_index(batch_op.f('ix_claim_run_id'), ['run_id'], unique=False)
