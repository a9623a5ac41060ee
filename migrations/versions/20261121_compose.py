"""mailings: whom a letter is from, whom it leaves out; runs and clients by day

Revision ID: c3e6a9b12d43
Revises: d4f7bac23e54
Create Date: 2026-11-21 16:20:00

"""
from alembic import op
import sqlalchemy as sa


revision = "c3e6a9b12d43"
down_revision = "d4f7bac23e54"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table('mailing', schema=None) as batch_op:
        batch_op.add_column(sa.Column('exclude_segment_id', sa.Integer(), nullable=True))
        # The defaults are for the rows that are there.
        batch_op.add_column(sa.Column('sender_name', sa.String(length=60), server_default='', nullable=False))
        batch_op.add_column(sa.Column('reply_to', sa.String(length=254), server_default='', nullable=False))
    with op.batch_alter_table('mailing', schema=None) as batch_op:
        batch_op.alter_column('sender_name', server_default=None)
        batch_op.alter_column('reply_to', server_default=None)
        batch_op.create_foreign_key(batch_op.f('fk_mailing_exclude_segment_id_segment'), 'segment', ['exclude_segment_id'], ['id'])
        batch_op.create_index(batch_op.f('ix_mailing_exclude_segment_id'), ['exclude_segment_id'])
    op.create_index('ix_run_by_day', 'run', ['owner_id', 'created_at'])
    op.create_index('ix_client_added', 'client', ['owner_id', 'added_at'])


def downgrade():
    op.drop_index('ix_client_added', table_name='client')
    op.drop_index('ix_run_by_day', table_name='run')
    with op.batch_alter_table('mailing', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_mailing_exclude_segment_id'))
        batch_op.drop_constraint(batch_op.f('fk_mailing_exclude_segment_id_segment'), type_='foreignkey')
        for name in ('reply_to', 'sender_name', 'exclude_segment_id'):
            batch_op.drop_column(name)
