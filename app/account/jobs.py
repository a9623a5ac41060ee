"""Forgetting those who left."""

from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.account import service
from app.extensions import db
from app.queue import job

log = structlog.get_logger(__name__)

ERASE_EVERY = timedelta(hours=1)


@job()
def erase_closed_accounts() -> None:
    """Erase the accounts whose days are over, piece by piece. Twice at once, or cut short, does no harm."""
    ids = db.session.scalars(service.to_erase()).all()
    db.session.commit()
    for user_id in ids:
        try:
            while service.erase_some(user_id):
                db.session.commit()
            db.session.commit()
        except SQLAlchemyError:  # the others shall not wait for what is wrong with this one
            db.session.rollback()
            log.exception("account.not_erased", user=user_id)
        else:
            log.info("account.erased", user=user_id)
