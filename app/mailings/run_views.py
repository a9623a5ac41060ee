"""Pages of runs, and what became of every single message. The routes belong to the blueprint of mailings."""

from http import HTTPStatus

from flask import Response, abort, flash, request, url_for
from flask_babel import format_number, ngettext
from flask_babel import gettext as _

from app import clock, web
from app.auth.access import requires
from app.auth.roles import Permission
from app.delivery.models import Delivery, DeliveryStatus, Run
from app.delivery.service import RESENDABLE
from app.errors import NotFound
from app.extensions import db
from app.mailings import jobs, queries, service
from app.mailings.models import Mailing
from app.mailings.views import (
    MAILING,
    RUN,
    asked_word,
    blueprint,
    find_editable,
    find_mailing,
    find_run,
    may_edit,
    of_whom,
    poll_seconds,
    progress_of,
)
from app.messages import preview
from app.paging import paginate
from app.queue import enqueue

DELIVERY = RUN + "/deliveries/<int(max=9223372036854775807):delivery_id>"

# As the progress bar has them: what is final, then what is still to come.
LEDGER = [
    DeliveryStatus.SENT,
    DeliveryStatus.FAILED,
    DeliveryStatus.UNKNOWN,
    DeliveryStatus.SKIPPED,
    DeliveryStatus.SENDING,
    DeliveryStatus.PENDING,
]


@blueprint.get(RUN)
@requires(Permission.OWN_THINGS, Permission.SEE_OTHERS)
def show_run(mailing_id: int, run_id: int) -> Response:
    mailing = find_mailing(mailing_id)
    return _show_run(mailing, find_run(mailing, run_id), "live" if "live" in request.args else "deliveries")


@blueprint.post(RUN + "/resend")
@requires(Permission.OWN_THINGS)
def resend(mailing_id: int, run_id: int) -> Response:
    """Send what failed, or what is unknown, once more."""
    mailing = find_editable(mailing_id)
    run = find_run(mailing, run_id)
    status = request.form.get("status", "")
    if status not in RESENDABLE:
        abort(HTTPStatus.BAD_REQUEST)
    again = service.resend(mailing, run, DeliveryStatus(status))
    db.session.commit()
    enqueue(jobs.deliver)
    number = format_number(again)
    if mailing.paused_at:
        sentence = ngettext(
            "%(number)s message is sent again once the mailing is resumed.",
            "%(number)s messages are sent again once the mailing is resumed.",
            again,
            number=number,
        )
    else:
        sentence = ngettext(
            "%(number)s message is sent again.", "%(number)s messages are sent again.", again, number=number
        )
    flash(sentence, "success")
    if web.wants_fragment():
        return _show_run(mailing, run, "live")
    return web.redirect_to(url_for(".show_run", mailing_id=mailing.id, run_id=run.id))


def _show_run(mailing: Mailing, run: Run, block: str) -> Response:
    now = clock.now()
    after, state, search = asked_word("after"), asked_word("status"), asked_word("q")
    found = queries.deliveries_like(queries.deliveries_of(run), state, search)
    return web.render(
        "mailings/run.html",
        block="rows" if after else block,
        mailing=mailing,
        run=run,
        page=paginate(found, Delivery.id, cursor=after),
        state=state,
        search=search,
        states=LEDGER,
        progress=progress_of([run], now),
        may_resend=may_edit(mailing) and not mailing.disabled_at and not mailing.owner.is_stopped,
        poll_seconds=poll_seconds([run], [], now),
        now=now,
        **of_whom(mailing),
    )


@blueprint.get(MAILING + "/letter")
@requires(Permission.OWN_THINGS, Permission.SEE_OTHERS)
def preview_letter(mailing_id: int) -> Response:
    """What the next run would send, alone: whoever may see a mailing has to see what it sends."""
    message = find_mailing(mailing_id).message
    return preview.framed(message.subject, message.html)


@blueprint.get(RUN + "/letter")
@requires(Permission.OWN_THINGS, Permission.SEE_OTHERS)
def preview_sent_letter(mailing_id: int, run_id: int) -> Response:
    """What that run sends, as it was frozen."""
    run = find_run(find_mailing(mailing_id), run_id)
    return preview.framed(run.subject, run.html)


@blueprint.get(DELIVERY)
@requires(Permission.OWN_THINGS, Permission.SEE_OTHERS)
def show_delivery(mailing_id: int, run_id: int, delivery_id: int) -> Response:
    mailing = find_mailing(mailing_id)
    run = find_run(mailing, run_id)
    delivery = db.session.scalar(queries.deliveries_of(run).where(Delivery.id == delivery_id))
    if delivery is None:
        raise NotFound(_("There is no such message in this run."))
    return web.render(
        "mailings/delivery.html",
        block="attempts",
        mailing=mailing,
        run=run,
        delivery=delivery,
        attempts=db.session.scalars(queries.attempts_of(delivery)).all(),
        **of_whom(mailing),
    )
