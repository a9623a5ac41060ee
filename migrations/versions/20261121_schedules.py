"""schedules: every so many, chosen weekdays, days of a month; missed occurrences; calendars under a secret address

Revision ID: c52e8d0b3f21
Revises: b41d7c9a2e10
Create Date: 2026-11-21 13:10:00

"""
from alembic import op
import sqlalchemy as sa


revision = 'c52e8d0b3f21'
down_revision = 'b41d7c9a2e10'
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table('mailing', schema=None) as batch_op:
        # The defaults are for the rows that are there.
        batch_op.add_column(sa.Column('every', sa.SmallInteger(), server_default='1', nullable=False))
        batch_op.add_column(sa.Column('weekdays', sa.SmallInteger(), server_default='0', nullable=False))
        batch_op.add_column(sa.Column('month_day', sa.SmallInteger(), nullable=True))
        batch_op.add_column(sa.Column('month_week', sa.SmallInteger(), nullable=True))
        batch_op.add_column(sa.Column('month_weekday', sa.SmallInteger(), nullable=True))
        batch_op.add_column(sa.Column('occurrences_max', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('misfire', sa.String(length=20), server_default='late', nullable=False))
        batch_op.add_column(sa.Column('late_seconds_max', sa.Integer(), nullable=True))
    with op.batch_alter_table('mailing', schema=None) as batch_op:
        batch_op.alter_column('every', server_default=None)
        batch_op.alter_column('weekdays', server_default=None)
        batch_op.alter_column('misfire', server_default=None)
        batch_op.create_check_constraint('every', 'every >= 1')
        batch_op.create_check_constraint('occurrences', 'occurrences_max >= 1')
        batch_op.create_check_constraint('month_week', '(month_week IS NULL) = (month_weekday IS NULL)')
    with op.batch_alter_table('run', schema=None) as batch_op:
        batch_op.add_column(sa.Column('missed', sa.String(length=20), nullable=True))
    where = sa.text("missed = 'asked'")
    op.create_index('ix_run_asked', 'run', ['owner_id'], sqlite_where=where, postgresql_where=where)
    with op.batch_alter_table('user', schema=None) as batch_op:
        batch_op.add_column(sa.Column('calendar_salt', sa.String(length=32), nullable=True))


def downgrade():
    with op.batch_alter_table('user', schema=None) as batch_op:
        batch_op.drop_column('calendar_salt')
    op.drop_index('ix_run_asked', table_name='run')
    with op.batch_alter_table('run', schema=None) as batch_op:
        batch_op.drop_column('missed')
    with op.batch_alter_table('mailing', schema=None) as batch_op:
        for name in ('every', 'occurrences', 'month_week'):
            batch_op.drop_constraint(name, type_='check')
        for name in ('late_seconds_max', 'misfire', 'occurrences_max', 'month_weekday', 'month_week', 'month_day',
                     'weekdays', 'every'):
            batch_op.drop_column(name)
