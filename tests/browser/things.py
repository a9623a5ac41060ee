"""People and their things, put straight into the database of the service that browsers visit."""

from collections.abc import Iterator
from contextlib import contextmanager

from app import create_app
from app.config import Settings
from app.extensions import db


@contextmanager
def things_in(database_url: str, settings: Settings) -> Iterator[None]:
    """What is made in here, with `tests.make`, is saved at the end."""
    app = create_app(settings.model_copy(update={"database_url": database_url}))
    with app.app_context():
        yield
        db.session.commit()
        db.session.remove()
        db.engine.dispose()
