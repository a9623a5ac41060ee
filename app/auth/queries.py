"""Reads about accounts and letters."""

from datetime import datetime

from sqlalchemy import ColumnElement, Select, select

from app.auth.models import Letter, User


def user_by_email(address: str) -> Select[User]:
    """The account with this address, given as `app.addresses.Address.key`: at most one."""
    return select(User).where(User.email_key == address)


def letters_due(moment: datetime) -> Select[Letter]:
    """Letters that may leave at `moment`, the longest waiting first."""
    return select(Letter).where(*is_due(moment)).order_by(Letter.not_before, Letter.id)


def is_due(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    """What is true of a letter that may leave at `moment`."""
    return Letter.sent_at.is_(None), Letter.gave_up_at.is_(None), Letter.not_before <= moment
