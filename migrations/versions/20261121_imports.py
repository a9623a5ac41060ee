"""imports: files of clients in pieces, how far they are taken in, and their bad rows

Revision ID: e74a0f2d5b43
Revises: e7a94b20c6d1
Create Date: 2026-11-21 13:40:00

"""
from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql


revision = 'e74a0f2d5b43'
down_revision = "e7a94b20c6d1"
branch_labels = None
depends_on = None


def upgrade():
    json = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), 'postgresql')
    moment = sa.DateTime(timezone=True)
    op.create_table('client_import',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('owner_id', sa.Integer(), nullable=False),
        sa.Column('status', sa.String(length=20), nullable=False),
        sa.Column('file_name', sa.String(length=200), nullable=False),
        sa.Column('size', sa.BigInteger(), nullable=False),
        sa.Column('encoding', sa.String(length=20), nullable=False),
        sa.Column('delimiter', sa.String(length=1), nullable=False),
        sa.Column('begins_at', sa.Integer(), nullable=False),
        sa.Column('has_header', sa.Boolean(), nullable=False),
        sa.Column('columns', json, nullable=False),
        sa.Column('known', sa.String(length=20), nullable=False),
        sa.Column('tags', json, nullable=False),
        sa.Column('locale', sa.String(length=10), nullable=False),
        sa.Column('position', sa.BigInteger(), nullable=False),
        sa.Column('next_row', sa.Integer(), nullable=False),
        sa.Column('added', sa.Integer(), nullable=False),
        sa.Column('updated', sa.Integer(), nullable=False),
        sa.Column('skipped', sa.Integer(), nullable=False),
        sa.Column('bad', sa.Integer(), nullable=False),
        sa.Column('failures', sa.Integer(), nullable=False),
        sa.Column('fault', sa.Text(), nullable=False),
        sa.Column('created_at', moment, nullable=False),
        sa.Column('started_at', moment, nullable=True),
        sa.Column('finished_at', moment, nullable=True),
        sa.Column('seen_at', moment, nullable=False),
        sa.ForeignKeyConstraint(['owner_id'], ['user.id'], name=op.f('fk_client_import_owner_id_user'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_client_import')),
    )
    op.create_index('ix_client_import_owner_id', 'client_import', ['owner_id', 'id'])
    where = sa.text('finished_at IS NULL')
    op.create_index('ix_client_import_open', 'client_import', ['seen_at'], sqlite_where=where, postgresql_where=where)
    op.create_table('client_import_piece',
        sa.Column('import_id', sa.Integer(), nullable=False),
        sa.Column('number', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('data', sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(['import_id'], ['client_import.id'], name=op.f('fk_client_import_piece_import_id_client_import'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('import_id', 'number', name=op.f('pk_client_import_piece')),
    )
    op.create_table('client_import_bad_row',
        sa.Column('import_id', sa.Integer(), nullable=False),
        sa.Column('number', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('email', sa.String(length=254), nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(['import_id'], ['client_import.id'], name=op.f('fk_client_import_bad_row_import_id_client_import'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('import_id', 'number', name=op.f('pk_client_import_bad_row')),
    )


def downgrade():
    op.drop_table('client_import_bad_row')
    op.drop_table('client_import_piece')
    op.drop_index('ix_client_import_open', table_name='client_import')
    op.drop_index('ix_client_import_owner_id', table_name='client_import')
    op.drop_table('client_import')
