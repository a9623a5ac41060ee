"""The page of the service's log. The route belongs to the blueprint of mailings."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from flask import Response, request
from flask_babel import gettext as _

from app import clock, web
from app.auth.access import requires, signed_in
from app.auth.models import User
from app.auth.roles import Permission
from app.delivery.models import Attempt, DeliveryStatus
from app.extensions import db
from app.fields import YEARS
from app.mailings import addressed, log, queries
from app.mailings.log import Filters
from app.mailings.models import Mailing
from app.mailings.schedule import local_to_utc
from app.mailings.views import asked_number, asked_word, blueprint, find_mailing
from app.paging import Page

LOGGED = [DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.PENDING, DeliveryStatus.UNKNOWN]
MAILINGS_OFFERED = 100
ALL, MINE = "all", "mine"


@blueprint.get("/log")
@requires(Permission.SEE_LOG)
def show_log() -> Response:
    """All attempts of the service; a user's own in full, those of others without what tells whose they are."""
    user = signed_in()
    sees_all = user.may(Permission.SEE_ADDRESSES)
    filters, notice = _filters(user, sees_all=sees_all), ""
    try:
        page = log.newest(filters, request.args.get("after"))
    except addressed.TooMany as error:
        page, notice = Page[Attempt]([], None), str(error)
    rows = db.session.execute(log.details([attempt.id for attempt in page]))
    return web.render(
        "mailings/log.html",
        block="rows",
        lines=[log.line_of(*row, in_full=sees_all or row[3].id == user.id) for row in rows],
        next_cursor=page.next_cursor,
        filters=filters,
        given=_given(filters),
        notice=notice,
        within=_periods(),
        outcomes=LOGGED,
        mailings=lambda: _mailings_to_choose(user, filters.mailing),
        user=user,
    )


def _filters(user: User, *, sees_all: bool) -> Filters:
    """What the address says. What makes no sense there says nothing."""
    code, mailing_id, outcome = asked_number("code"), asked_number("mailing"), asked_word("outcome")
    asked = Filters(
        mailing=None if mailing_id is None else find_mailing(mailing_id),
        outcome=DeliveryStatus(outcome) if outcome in LOGGED else None,
        code=code if code in range(100, 600) else None,  # RFC 5321, 4.2
        since=_moment("since"),
        until=_moment("until"),
        address=asked_word("q"),
    )
    # Whoever looks for an address, or for a mailing, looks among those they may see.
    narrow = not sees_all and bool(asked.address or asked.mailing)
    of_all = asked_word("of") or (ALL if sees_all else MINE)
    asked = asked if of_all == ALL and not narrow else replace(asked, owner=user)
    if period := _periods().get(asked_word("within")):
        asked = replace(asked, since=max(filter(None, (asked.since, clock.now() - period[1]))))
    return asked


def _periods() -> dict[str, tuple[str, timedelta]]:
    return {
        "hour": (_("The last hour"), timedelta(hours=1)),
        "day": (_("The last 24 hours"), timedelta(days=1)),
        "week": (_("The last 7 days"), timedelta(days=7)),
        "month": (_("The last 30 days"), timedelta(days=30)),
    }


def _moment(name: str) -> datetime | None:
    """A moment on the reader's own clocks, as a field for date and time writes it."""
    try:
        local = datetime.fromisoformat(asked_word(name))
    except ValueError:
        return None
    if local.tzinfo is not None or local.year not in YEARS:
        return None
    return local_to_utc(local, web.time_zone())


def _given(filters: Filters) -> dict[str, Any]:
    """The filters as the address says them, for the links to this page and for its form."""
    texts = {name: asked_word(name) for name in ("within", "since", "until", "q")}
    return {
        "of": MINE if filters.owner else ALL,
        "outcome": filters.outcome,
        "code": filters.code,
        "mailing": filters.mailing.id if filters.mailing else None,
        **{name: text or None for name, text in texts.items()},
    }


def _mailings_to_choose(user: User, chosen: Mailing | None) -> list[Mailing]:
    """The user's newest ones, and the one that is chosen."""
    own = queries.owned_by(user).order_by(Mailing.id.desc()).limit(MAILINGS_OFFERED)
    newest = list(db.session.scalars(own))
    return newest if chosen is None or chosen in newest else [chosen, *newest]
