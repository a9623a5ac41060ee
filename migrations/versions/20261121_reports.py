"""reports: what was counted of runs, who cancelled one, and answers found by their code

Revision ID: d4f7bac23e54
Revises: f6b9dce45a76
Create Date: 2026-11-21 16:30:00

"""
from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql


revision = "d4f7bac23e54"
down_revision = "f6b9dce45a76"
branch_labels = None
depends_on = None


def upgrade():
    json = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), 'postgresql')
    moment = sa.DateTime(timezone=True)
    op.create_table('run_report',
        sa.Column('run_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=False, nullable=False),
        sa.Column('mark', sa.String(length=200), nullable=False),
        sa.Column('made_at', moment, nullable=False),
        sa.Column('figures', json, nullable=False),
        sa.ForeignKeyConstraint(['run_id'], ['run.id'], name=op.f('fk_run_report_run_id_run'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('run_id', name=op.f('pk_run_report')),
    )
    op.add_column('run', sa.Column('cancelled_at', moment, nullable=True))
    where = sa.text("outcome != 'sent'")
    op.create_index('ix_attempt_refused', 'attempt', ['run_id', 'code', 'delivery_id'], sqlite_where=where, postgresql_where=where)


def downgrade():
    op.drop_index('ix_attempt_refused', table_name='attempt')
    with op.batch_alter_table('run', schema=None) as batch_op:
        batch_op.drop_column('cancelled_at')
    op.drop_table('run_report')
