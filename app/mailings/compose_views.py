"""Composing a mailing: its form, and what it shows while it is typed. Its routes belong to the mailings' blueprint."""

from http import HTTPStatus
from typing import Any

from flask import Response, current_app, flash, url_for
from flask_babel import gettext as _

from app import web
from app.auth.access import requires, signed_in
from app.auth.models import User
from app.auth.roles import Permission
from app.extensions import db
from app.mailings import jobs, queries, service, summary
from app.mailings.forms import MailingForm
from app.mailings.models import Mailing
from app.mailings.views import MAILING, asked_number, blueprint, find, find_editable

OCCURRENCES_PREVIEWED = 5


@blueprint.route("/mailings/new", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
def create_mailing() -> Response:
    form = MailingForm(signed_in(), like=_mailing_to_copy())
    if form.only_looks or not form.validate_on_submit():
        return _form_page(form)
    mailing = service.create(form.user, form.draft())
    db.session.commit()
    jobs.announce(mailing)
    flash(_("The mailing is planned."), "success")
    return web.redirect_to(url_for(".show_mailing", mailing_id=mailing.id))


def _mailing_to_copy() -> Mailing | None:
    """The one that a new mailing begins as a copy of: the address says which, and it has to be one's own."""
    mailing_id = asked_number("like")
    return None if mailing_id is None else find(queries.owned_by(signed_in()), mailing_id)


@blueprint.route(MAILING + "/edit", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
def edit_mailing(mailing_id: int) -> Response:
    mailing = find_editable(mailing_id)
    form = MailingForm(mailing.owner, mailing)
    if form.only_looks or not form.validate_on_submit():
        return _form_page(form)
    service.edit(mailing, form.draft())
    db.session.commit()
    jobs.announce(mailing)
    flash(_("The mailing is saved."), "success")
    return web.redirect_to(url_for(".show_mailing", mailing_id=mailing.id))


# ── While it is typed ──


@blueprint.post("/mailings/new/preview")
@requires(Permission.OWN_THINGS)
def preview_new_mailing() -> Response:
    return _preview(MailingForm(signed_in()))


@blueprint.post(MAILING + "/edit/preview")
@requires(Permission.OWN_THINGS)
def preview_mailing(mailing_id: int) -> Response:
    mailing = find_editable(mailing_id)
    return _preview(MailingForm(mailing.owner, mailing))


@blueprint.post("/mailings/new/messages")
@requires(Permission.OWN_THINGS)
def choose_message() -> Response:
    """A few messages that fit the search, for the form as typed so far."""
    form = MailingForm(_owner())
    found = form.offered_messages()
    return web.render("mailings/choose_message.html", block="messages", messages=found, owner=form.user)


@blueprint.post("/mailings/new/clients")
@requires(Permission.OWN_THINGS)
def choose_clients() -> Response:
    """A few clients that fit the search and are not chosen yet, for the form as typed so far."""
    found = MailingForm(_owner()).offered_clients()
    return web.render("mailings/choose_clients.html", block="clients", clients=found)


def _owner() -> User:
    """Whose things are offered: those of the owner of the `mailing` in the address, else one's own."""
    mailing_id = asked_number("mailing")
    return signed_in() if mailing_id is None else find_editable(mailing_id).owner


def _form_page(form: MailingForm, *, only_looks: bool = False) -> Response:
    """only_looks: it was sent to see something, and not to be saved: nothing that is missing is a mistake yet."""
    only_looks = only_looks or form.only_looks
    if only_looks:
        form.validate()  # the summary needs it
    context = _previewed(form)
    if only_looks:
        form.forgive()
    form.offer_segments()
    is_wrong = form.is_submitted() and not only_looks
    return web.render(
        "mailings/form.html",
        block="form",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if is_wrong else HTTPStatus.OK,
        form=form,
        owner=form.user,
        messages=form.offered_messages(),
        clients=form.offered_clients(),
        chips=form.chips(),
        sender=current_app.config["SETTINGS"].mail_default_sender,
        sending=form.mailing and db.session.scalar(queries.unfinished_runs_of(form.mailing).limit(1)) is not None,
        **context,
    )


def _preview(form: MailingForm) -> Response:
    """What the form as typed so far would do."""
    if not web.wants_fragment():
        return _form_page(form, only_looks=True)
    form.validate()
    return web.render("mailings/form.html", block="preview", form=form, **_previewed(form))


def _previewed(form: MailingForm) -> dict[str, Any]:
    upcoming = form.upcoming_runs(OCCURRENCES_PREVIEWED)
    return {"upcoming": upcoming, "summary": summary.of(form, upcoming), "recipients": form.number_of_recipients()}
