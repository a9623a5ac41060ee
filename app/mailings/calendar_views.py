"""The calendar's page, and its feed for other programs. The routes belong to the blueprint of mailings."""

import hashlib
from datetime import date
from http import HTTPStatus
from typing import Any

from flask import Response, current_app, flash, request, url_for
from flask_babel import get_locale
from flask_babel import gettext as _

from app import clock, web
from app.auth.access import requires, signed_in
from app.auth.limits import network
from app.auth.roles import Permission
from app.errors import NotFound
from app.extensions import db, limiter
from app.fields import YEARS
from app.mailings import calendar, calendar_words, feed
from app.mailings.views import blueprint

FETCHES = "120 per hour"  # of one calendar; programs ask every hour, or every quarter of one
WRONG_TOKENS = "300 per hour"  # of one network: a service may ask for the calendars of many

blueprint.add_app_template_filter(calendar_words.look, "look")
blueprint.add_app_template_filter(calendar_words.details, "details")
blueprint.add_app_template_filter(calendar_words.on_their_clock, "on_their_clock")
blueprint.add_app_template_filter(calendar_words.figures, "figures")
blueprint.add_app_template_filter(calendar_words.all_of, "all_of_entry")
blueprint.add_app_template_filter(calendar_words.hour, "hour")


@blueprint.get("/mailings/calendar")
@requires(Permission.OWN_THINGS)
def show_calendar() -> Response:
    return _show_agenda() if request.args.get("view") == "agenda" else _show_month()


def _show_month() -> Response:
    now, timezone = clock.now(), web.time_zone()
    today = calendar.day_of(now, timezone)
    first = _month_asked_for() or today.replace(day=1)
    first_weekday = get_locale().first_week_day
    month = calendar.month(signed_in(), first, first_weekday=first_weekday, timezone=timezone, now=now)
    return _page(
        "calendar",
        month=month,
        title=calendar_words.name_of_month(first),
        weekdays=calendar_words.weekdays(first_weekday),
        previous=_address_of_month(_month_beside(first, -1)),
        following=_address_of_month(_month_beside(first, 1)),
        agenda_from=today if first <= today < _month_beside(first, 1) else first,
        month_of=f"{first:%Y-%m}",
        is_cut=month.is_cut,
        today=today,
    )


def _show_agenda() -> Response:
    now, timezone = clock.now(), web.time_zone()
    today = calendar.day_of(now, timezone)
    first = _day_asked_for() or today
    agenda = calendar.agenda(signed_in(), first, timezone=timezone, now=now)
    return _page(
        "rows" if "more" in request.args else "calendar",
        agenda=agenda,
        title=_("From %(day)s", day=calendar_words.name_of_date(first)),
        previous=_address_of_agenda(first - calendar.AGENDA_DAYS * calendar.DAY),
        following=_address_of_agenda(first + calendar.AGENDA_DAYS * calendar.DAY),
        month_of=f"{first:%Y-%m}",
        agenda_from=first,
        is_cut=agenda.is_cut,
        today=today,
    )


def _page(block: str, **context: Any) -> Response:
    context = {"month": None, "agenda": None, "in_a_cell": calendar.IN_A_CELL, "on_a_day": calendar.ON_A_DAY} | context
    name_of_day = calendar_words.name_of_day
    return web.render(
        "mailings/calendar.html", block=block, address=_feed_address(), name_of_day=name_of_day, **context
    )


def _month_asked_for() -> date | None:
    text = request.args.get("month")
    return None if text is None else _date(f"{text}-01")


def _day_asked_for() -> date | None:
    text = request.args.get("from")
    return None if text is None else _date(text)


def _date(text: str) -> date:
    """Raises: NotFound, for what is no day of the years that mailings know."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if day.year not in YEARS:
        raise NotFound(_("There is no such page."))
    return day


def _month_beside(first: date, months: int) -> date:
    number = first.year * 12 + first.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def _address_of_month(first: date) -> str | None:
    return url_for(".show_calendar", month=f"{first:%Y-%m}") if first.year in YEARS else None


def _address_of_agenda(first: date) -> str | None:
    values: dict[str, Any] = {"view": "agenda", "from": first.isoformat()}
    return url_for(".show_calendar", **values) if first.year in YEARS else None


# ── The feed ──


@blueprint.post("/mailings/calendar/address")
@requires(Permission.OWN_THINGS)
def renew_feed() -> Response:
    """Switch the feed on, or give it another address."""
    user = signed_in()
    was_on = user.calendar_salt is not None
    feed.renew(user)
    db.session.commit()
    return _feed_done(
        _("The calendar has a new address. The old one opens nothing any more.")
        if was_on
        else _("Your calendar has an address now.")
    )


@blueprint.post("/mailings/calendar/address/off")
@requires(Permission.OWN_THINGS)
def switch_feed_off() -> Response:
    feed.switch_off(signed_in())
    db.session.commit()
    return _feed_done(_("The address of your calendar opens nothing any more."))


def _feed_done(sentence: str) -> Response:
    flash(sentence, "success")
    if web.wants_fragment():
        return web.render("mailings/calendar.html", block="feed", address=_feed_address())
    return web.redirect_to(url_for(".show_calendar"))


def _feed_address() -> str | None:
    return feed.address_of(signed_in(), current_app.config["SETTINGS"])


def _token_key() -> str:
    # Redis need not know the address.
    return hashlib.sha256(str((request.view_args or {}).get("token")).encode()).hexdigest()[:32]


def _is_absent(response: Response) -> bool:
    return response.status_code == HTTPStatus.NOT_FOUND


@blueprint.get(f"{feed.PATH}<token>{feed.ENDING}")
@limiter.limit(WRONG_TOKENS, key_func=network, deduct_when=_is_absent)
@limiter.limit(FETCHES, key_func=_token_key)
def calendar_feed(token: str) -> Response:
    """For whoever has the address: it is a secret of its user, and programs that ask know no log-in."""
    settings = current_app.config["SETTINGS"]
    user = feed.user_of(token, settings)
    if user is None:
        raise NotFound(_("There is nothing at this address, or it is not yours."))
    response = Response(feed.calendar_of(user, settings, clock.now()), content_type="text/calendar; charset=utf-8")
    response.headers["Cache-Control"] = "private, no-cache"  # asked for anew each time, and mostly answered by 304
    response.headers["Content-Disposition"] = 'inline; filename="golub.ics"'
    response.add_etag()
    response.make_conditional(request)
    return response
