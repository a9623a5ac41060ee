"""What is done to many mailings at once, and back; and what mailings tell the lists below them."""

from collections.abc import Collection
from datetime import datetime
from functools import partial
from http import HTTPStatus

from flask import Response, abort, flash, request, url_for
from flask_babel import format_number, ngettext
from flask_babel import gettext as _
from sqlalchemy import Select, func, select

from app import ticked
from app.auth.access import requires, signed_in
from app.auth.roles import Permission
from app.clients.models import Client
from app.delivery.models import Delivery, DeliveryStatus, Run, RunStatus
from app.extensions import db
from app.mailings import jobs, trash
from app.mailings.models import Mailing, mailing_client
from app.mailings.views import blueprint, list_url, mailings_found, show_list
from app.messages.models import Message
from app.paging import COUNTED
from app.undo import moment_of, tells, what_goes_with


@blueprint.post("/mailings/bulk")
@requires(Permission.OWN_THINGS)
def change_mailings() -> Response:
    which = ticked.chosen(mailings_found(), Mailing.id)
    match request.form.get("action"):
        case "delete":
            return _delete(which)
        case "pause":
            count = trash.pause_all(which)
            sentence = ngettext(
                "%(number)s mailing is paused.", "%(number)s mailings are paused.", count, number=format_number(count)
            )
        case "resume":
            count = trash.resume_all(which)
            sentence = ngettext(
                "%(number)s mailing goes on.", "%(number)s mailings go on.", count, number=format_number(count)
            )
        case _:
            abort(HTTPStatus.BAD_REQUEST)
    db.session.commit()
    if request.form["action"] == "resume":
        jobs.announce_all()
    flash(sentence, "success" if count else "info")
    return ticked.changed_list(show_list, list_url())


def _delete(which: Select[Mailing]) -> Response:
    return ticked.delete(
        which,
        partial(trash.delete_all, signed_in()),
        question=lambda n: ngettext(
            "Delete %(number)s mailing?", "Delete %(number)s mailings?", n, number=format_number(n)
        ),
        goes_with=partial(what_goes_with, Mailing),
        said=lambda n: ngettext(
            "%(number)s mailing is deleted.", "%(number)s mailings are deleted.", n, number=format_number(n)
        ),
        undo=url_for(".undo_mailings"),
        show=show_list,
        url=list_url(),
    )


@blueprint.post("/mailings/undo")
@requires(Permission.OWN_THINGS)
def undo_mailings() -> Response:
    back = trash.restore(signed_in(), moment_of(request.form.get("at", "")))
    db.session.commit()
    jobs.announce_all()
    number = format_number(len(back))
    flash(
        ngettext(
            "%(number)s mailing is back, and goes on with what it had planned.",
            "%(number)s mailings are back, and go on with what they had planned.",
            len(back),
            number=number,
        ),
        "success" if back else "info",
    )
    return ticked.back_in_list(".list_mailings")


# ── What mailings tell the lists below them ──


@blueprint.app_template_global("last_letters")
def last_letters(clients: Collection[Client]) -> dict[int, datetime]:
    """When each of these clients was last sent a letter, by id; whoever got none is missing."""
    newest = (
        select(Delivery.finished_at)
        .where(Delivery.client_id == Client.id, Delivery.status == DeliveryStatus.SENT)
        .order_by(Delivery.id.desc())
        .limit(1)
        .correlate(Client)
        .scalar_subquery()
    )
    found = db.session.execute(select(Client.id, newest).where(Client.id.in_([client.id for client in clients])))
    return {client_id: moment for client_id, moment in found if moment is not None}


@tells(Client)
def _of_clients(which: Select[Client]) -> list[str]:
    ids = which.with_only_columns(Client.id).order_by(None)
    chosen = select(mailing_client.c.mailing_id).join(Mailing, Mailing.id == mailing_client.c.mailing_id)
    mailings = chosen.where(mailing_client.c.client_id.in_(ids), Mailing.deleted_at.is_(None)).distinct()
    letters = select(Delivery.id).where(Delivery.client_id.in_(ids))
    sentences = []
    if number := _some(mailings):
        sentences.append(
            ngettext(
                "%(number)s mailing that goes to chosen clients loses some of them.",
                "%(number)s mailings that go to chosen clients lose some of them.",
                number,
                number=_up_to(number),
            )
        )
    if number := _some(letters):
        sentences.append(
            ngettext(
                "The record of %(number)s letter stays, without the link to its client. What waits is not sent.",
                "The record of %(number)s letters stays, without the link to their clients. What waits is not sent.",
                number,
                number=_up_to(number),
            )
        )
    return sentences


@tells(Message)
def _of_messages(which: Select[Message]) -> list[str]:
    ids = which.with_only_columns(Message.id).order_by(None)
    using = _some(select(Mailing.id).where(Mailing.message_id.in_(ids), Mailing.deleted_at.is_(None)))
    sentences = [_("What is shared leaves the common library, too.")]
    if using:
        sentences.append(
            ngettext(
                "%(number)s mailing uses them, and keeps sending what it has.",
                "%(number)s mailings use them, and keep sending what they have.",
                using,
                number=_up_to(using),
            )
        )
    return sentences


@tells(Mailing)
def _of_mailings(which: Select[Mailing]) -> list[str]:
    ids = which.with_only_columns(Mailing.id).order_by(None)
    unfinished = select(func.coalesce(func.sum(Run.pending), 0)).where(
        Run.mailing_id.in_(ids), Run.status != RunStatus.DONE
    )
    waiting = db.session.scalar(unfinished) or 0
    sentences = [_("Nothing more of them is sent. The record of what was sent stays.")]
    if waiting:
        sentences.append(
            ngettext(
                "%(number)s message that waits is not sent any more.",
                "%(number)s messages that wait are not sent any more.",
                waiting,
                number=format_number(waiting),
            )
        )
    return sentences


def _some(query: Select[int]) -> int:
    return db.session.scalar(select(func.count()).select_from(query.limit(COUNTED + 1).subquery())) or 0


def _up_to(number: int) -> str:
    return f"{format_number(COUNTED)}+" if number > COUNTED else str(format_number(number))
