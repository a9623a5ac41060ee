"""Makes what tests need, in the open session: the caller commits."""

import secrets
from datetime import timedelta
from io import BytesIO
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import func, select

from app import clock
from app.addresses import parse_address
from app.auth import logins, passwords
from app.auth.models import User
from app.auth.roles import Role
from app.blog.models import Post
from app.clients.models import Client
from app.delivery.models import Delivery, DeliveryStatus, Run, RunStatus
from app.extensions import db
from app.mailings.models import Audience, Mailing
from app.mailings.schedule import Period
from app.messages.models import Message

PASSWORD = "correct horse battery staple"


def user(email: str, role: Role = Role.USER, **fields: Any) -> User:
    """A verified user with the password PASSWORD."""
    address = parse_address(email)
    fields.setdefault("verified_at", clock.now())
    made = User(
        email=address.email, email_key=address.key, role=role, password_hash=passwords.hash_password(PASSWORD), **fields
    )
    return _add(made)


def session_of(app: Flask, client: FlaskClient, user: User) -> None:
    """Log this browser in without the log-in page."""
    with app.app_context():
        same = db.session.get_one(User, user.id)
        logins.begin(same, is_remembered=False)
        db.session.commit()
        key = same.login_key
    with client.session_transaction() as session:
        session["_user_id"], session["_fresh"] = key, True


def client(owner: User, email: str = "anna@example.test", **fields: Any) -> Client:
    address = parse_address(email)
    return _add(Client(owner_id=owner.id, email=address.email, email_key=address.key, **fields))


def clients(owner: User, count: int) -> list[Client]:
    return [client(owner, f"client{n}@example.test", first_name=f"Client {n}") for n in range(count)]


def message(owner: User, **fields: Any) -> Message:
    fields = {"subject": "News", "html": "<p>Hello!</p>", "text": ""} | fields
    return _add(Message(owner_id=owner.id, **fields))


def mailing(owner: User, **fields: Any) -> Mailing:
    """A mailing to all clients, due once in an hour."""
    start = clock.now() + timedelta(hours=1)
    if "message" not in fields and "message_id" not in fields:
        fields["message"] = message(owner)
    fields = {
        "name": "A mailing",
        "audience": Audience.ALL,
        "start_at": start,
        "next_run_at": fields.get("start_at", start),
        "period": Period.ONCE,
        "timezone": "UTC",
    } | fields
    return _add(Mailing(owner_id=owner.id, **fields))


def run(mailing: Mailing, **fields: Any) -> Run:
    """A run of it that is done, an hour ago."""
    texts = dict.fromkeys(("subject", "html", "text", "sender"), "News")
    at = clock.now() - timedelta(hours=1)
    fields = {"scheduled_for": at, "created_at": at, "status": RunStatus.DONE, **texts} | fields
    return _add(Run(mailing_id=mailing.id, owner_id=mailing.owner_id, **fields))


def post(author: User, **fields: Any) -> Post:
    """An article, a draft unless `published_at` says otherwise."""
    fields = {"title": "Pigeons", "slug": f"pigeons-{secrets.token_hex(4)}", "html": "<p>About pigeons</p>"} | fields
    return _add(Post(author_id=author.id, **fields))


def picture_file(width: int = 600, height: int = 300, kind: str = "JPEG") -> BytesIO:
    """A picture as people upload it."""
    file = BytesIO()
    Image.new("RGB", (width, height), (12, 101, 112)).save(file, kind)
    return BytesIO(file.getvalue())


def _add(made: Any) -> Any:
    db.session.add(made)
    db.session.flush()
    return made


def delivery_counts(run_id: int) -> dict[DeliveryStatus, int]:
    """How many of the run's ledger rows are in each state, counted."""
    query = select(Delivery.status, func.count()).where(Delivery.run_id == run_id).group_by(Delivery.status)
    return dict.fromkeys(DeliveryStatus, 0) | dict(db.session.execute(query).all())
