"""blog

Revision ID: d63f9e1c4a32
Revises: c52e8d0b3f21
Create Date: 2026-11-21 13:05:00.000000

"""
import re

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql


# revision identifiers, used by Alembic.
revision = 'd63f9e1c4a32'
down_revision = 'c52e8d0b3f21'
branch_labels = None
depends_on = None


def upgrade():
    op.create_table('picture',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('key', sa.String(length=32), nullable=False),
    sa.Column('author_id', sa.Integer(), nullable=True),
    sa.Column('alt', sa.String(length=300), nullable=False),
    sa.Column('width', sa.Integer(), nullable=False),
    sa.Column('height', sa.Integer(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['author_id'], ['user.id'], name=op.f('fk_picture_author_id_user'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_picture')),
    sa.UniqueConstraint('key', name=op.f('uq_picture_key'))
    )
    with op.batch_alter_table('picture', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_picture_author_id'), ['author_id'], unique=False)

    op.create_table('picture_size',
    sa.Column('picture_id', sa.Integer(), nullable=False),
    sa.Column('width', sa.Integer(), nullable=False),
    sa.Column('image', sa.LargeBinary(), nullable=False),
    sa.ForeignKeyConstraint(['picture_id'], ['picture.id'], name=op.f('fk_picture_size_picture_id_picture'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('picture_id', 'width', name=op.f('pk_picture_size'))
    )
    with op.batch_alter_table('post', schema=None) as batch_op:
        batch_op.add_column(sa.Column('tags', sa.JSON().with_variant(postgresql.JSONB(), 'postgresql'), server_default='[]', nullable=False))
        batch_op.add_column(sa.Column('words', sa.Integer(), server_default='0', nullable=False))
        batch_op.add_column(sa.Column('cover_id', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('views', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), server_default='0', nullable=False))
        batch_op.add_column(sa.Column('draft', sa.JSON().with_variant(postgresql.JSONB(), 'postgresql'), nullable=True))
        batch_op.add_column(sa.Column('updated_at', sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True))
        batch_op.create_foreign_key(batch_op.f('fk_post_cover_id_picture'), 'picture', ['cover_id'], ['id'], ondelete='SET NULL')
        batch_op.create_index(batch_op.f('ix_post_cover_id'), ['cover_id'], unique=False)

    fill()
    # The defaults were for the rows that were there; new rows get theirs from the models.
    with op.batch_alter_table('post', schema=None) as batch_op:
        for column in ('tags', 'words', 'views'):
            batch_op.alter_column(column, server_default=None)
        batch_op.alter_column('updated_at', existing_type=sa.DateTime(timezone=True), nullable=False)

    op.create_table('former_slug',
    sa.Column('slug', sa.String(length=200), nullable=False),
    sa.Column('post_id', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['post_id'], ['post.id'], name=op.f('fk_former_slug_post_id_post'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('slug', name=op.f('pk_former_slug'))
    )
    with op.batch_alter_table('former_slug', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_former_slug_post_id'), ['post_id'], unique=False)


def fill():
    """What is known of the articles that are there."""
    connection = op.get_bind()
    connection.execute(sa.text('UPDATE post SET updated_at = created_at'))
    for id_, html in connection.execute(sa.text('SELECT id, html FROM post')).all():
        words = len(re.sub(r'<[^>]*>', ' ', html).split())
        connection.execute(sa.text('UPDATE post SET words = :words WHERE id = :id'), {'words': words, 'id': id_})


def downgrade():
    with op.batch_alter_table('former_slug', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_former_slug_post_id'))

    op.drop_table('former_slug')
    # What was deleted must not come back, where nobody knows of deleting.
    op.execute('DELETE FROM post WHERE deleted_at IS NOT NULL')
    with op.batch_alter_table('post', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_post_cover_id'))
        batch_op.drop_constraint(batch_op.f('fk_post_cover_id_picture'), type_='foreignkey')
        batch_op.drop_column('deleted_at')
        batch_op.drop_column('updated_at')
        batch_op.drop_column('draft')
        batch_op.drop_column('views')
        batch_op.drop_column('cover_id')
        batch_op.drop_column('words')
        batch_op.drop_column('tags')

    op.drop_table('picture_size')
    with op.batch_alter_table('picture', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_picture_author_id'))

    op.drop_table('picture')
