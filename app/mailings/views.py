"""Pages of mailings, their runs, and what became of every single message."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, current_app, flash, request, url_for
from flask_babel import gettext as _
from sqlalchemy import Select, select

from app import caching, clock, web
from app.auth.access import requires, signed_in
from app.auth.roles import Permission
from app.delivery.models import Run, RunStatus
from app.errors import NotFound
from app.extensions import db
from app.mailings import figures, jobs, progress, queries, service, words
from app.mailings import overview as on_overview
from app.mailings.models import Mailing, MailingStatus
from app.mailings.progress import Progress
from app.messages import queries as messages
from app.messages.models import Message
from app.paging import COUNTED, PAGE_SIZE, Order, count_some, paginate, sorting
from app.queue import connection, enqueue

blueprint = Blueprint("mailings", __name__)
blueprint.add_app_template_filter(words.word, "word")
blueprint.add_app_template_filter(words.clock_time, "clock_time")
blueprint.add_app_template_filter(words.your_time, "your_time")
blueprint.add_app_template_filter(words.share, "percent")
blueprint.add_app_template_filter(words.meaning, "meaning")
blueprint.add_app_template_filter(words.repeats, "repeats")
blueprint.add_app_template_filter(words.why_missed, "why_missed")
blueprint.add_app_template_filter(words.lateness_in_words, "lateness_in_words")
blueprint.add_app_template_filter(words.misfire_in_words, "misfire_in_words")
blueprint.add_app_template_filter(words.pace_in_words, "pace_in_words")
blueprint.add_app_template_filter(words.time_left_in_words, "time_left_in_words")
blueprint.add_app_template_filter(words.limit_in_words, "limit_in_words")
blueprint.add_app_template_global(words.state_of_mailing, "state_of_mailing")
blueprint.add_app_template_global(words.state_of_run, "state_of_run")
blueprint.add_app_template_global(progress.waits, "waits")
blueprint.add_app_template_filter(figures.in_words, "span_in_words")
blueprint.add_app_template_filter(figures.duration, "duration")
blueprint.add_app_template_filter(figures.lateness, "lateness")

MAILING = "/mailings/<int(max=2147483647):mailing_id>"
RUN = MAILING + "/runs/<int(max=9223372036854775807):run_id>"

ORDERS = {
    "added": Order((Mailing.id,), descending=True),
    "name": Order((Mailing.name, Mailing.id)),
    "next": Order((Mailing.next_run_at, Mailing.id)),  # an owner's mailings are few enough to sort
}
SENDING_POLL_SECONDS = 1
WAITING_POLL_SECONDS = 3
RESTING_POLL_SECONDS = 15
DIGITS_OF_AN_ID = 18
SOON = timedelta(minutes=1)


# ── Overview ───────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/overview")
@requires(Permission.OWN_THINGS)
def overview() -> Response:
    user, now = signed_in(), clock.now()
    timezone = web.time_zone()
    live = on_overview.live(user)
    return web.render(
        "mailings/overview.html",
        block="figures" if "figures" in request.args else "live",
        **live,
        attention=on_overview.attention(user, now),
        # Only for the blocks that show them: the live part asks every few seconds.
        cards=lambda: on_overview.cards(user, now.astimezone(clock.zone(timezone)).date(), timezone),
        has=lambda: on_overview.has(user),
        poll_seconds=poll_seconds([run for run, _of in live["running"]], live["planned"], now) and WAITING_POLL_SECONDS,
        now=now,
    )


# ── Mailings ───────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/mailings/")
@requires(Permission.OWN_THINGS)
def list_mailings() -> Response:
    if "count" in request.args:
        return web.render_count(count_some(mailings_found(), Mailing.id), COUNTED)
    return show_list()


def mailings_found() -> Select[Mailing]:
    """The user's mailings that the address asks for."""
    return queries.named(queries.in_state(queries.owned_by(signed_in()), asked_word("status")), asked_word("q"))


def list_url() -> str:
    """The list with what the address asks for, without the fields that are empty."""
    sort = sorting(asked_word("sort"), ORDERS).word
    return web.url_with("mailings.list_mailings", q=asked_word("q"), status=asked_word("status"), sort=sort)


def show_list() -> Response:
    """The list as the address asks for it, the one of an action on it, too."""
    user, cursor, order = signed_in(), request.args.get("after"), sorting(asked_word("sort"), ORDERS)
    state, search = asked_word("status"), asked_word("q")
    query = queries.with_subject(mailings_found())
    page = paginate(query, *order.keys, cursor=cursor, descending=order.descending)
    runs = db.session.scalars(queries.latest_runs([mailing.id for mailing in page]))
    return web.render_list(
        "mailings/list.html",
        list_url(),
        is_further=bool(cursor),
        page=page,
        sorting=order,
        runs={run.mailing_id: run for run in runs},
        state=state,
        search=search,
        filters={name: value for name, value in (("q", search), ("status", state)) if value},
        states=[*((kind.value, words.word(kind)) for kind in MailingStatus), (queries.DISABLED, _("Disabled"))],
        is_filtered=bool(state or search),
        has_clients=page or db.session.scalar(queries.number_of_clients(user)),
        has_messages=page or db.session.scalar(queries.number_of_messages(user)),
    )


@blueprint.get(MAILING)
@requires(Permission.OWN_THINGS, Permission.SEE_OTHERS)
def show_mailing(mailing_id: int) -> Response:
    return _show(find_mailing(mailing_id))


@blueprint.post(MAILING + "/start")
@requires(Permission.OWN_THINGS)
def start_mailing(mailing_id: int) -> Response:
    mailing = find_editable(mailing_id)
    service.start_now(mailing)
    db.session.commit()
    enqueue(jobs.prepare_runs)
    return done(mailing, _("The mailing has begun."))


@blueprint.post(MAILING + "/pause")
@requires(Permission.OWN_THINGS)
def pause_mailing(mailing_id: int) -> Response:
    mailing = find_editable(mailing_id)
    service.pause(mailing)
    db.session.commit()
    return done(mailing, _("The mailing is paused."))


@blueprint.post(MAILING + "/resume")
@requires(Permission.OWN_THINGS)
def resume_mailing(mailing_id: int) -> Response:
    mailing = find_editable(mailing_id)
    service.resume(mailing)
    db.session.commit()
    jobs.announce(mailing)
    return done(mailing, _("The mailing goes on."))


@blueprint.post(MAILING + "/delete")
@requires(Permission.OWN_THINGS)
def delete_mailing(mailing_id: int) -> Response:
    mailing = find_editable(mailing_id)
    deleted = service.delete(mailing)
    db.session.commit()
    web.flash_undoable(
        _("The mailing “%(name)s” is deleted.", name=mailing.name),
        url_for(".undo_mailings"),
        at=deleted.moment.isoformat(),
    )
    return web.redirect_to(url_for(".list_mailings"))


def done(mailing: Mailing, sentence: str) -> Response:
    flash(sentence, "success")
    if web.wants_fragment():
        return _show(mailing)
    return web.redirect_to(url_for(".show_mailing", mailing_id=mailing.id))


def _show(mailing: Mailing) -> Response:
    """The mailing's page.

    Its live part holds the runs from `since` on: the newest one at first, and whatever comes after it while somebody
    watches, so that nothing disappears under their eyes. The runs before it are a list that pages.
    """
    now = clock.now()
    since = asked_number("since")
    if since is None:
        since = db.session.scalar(queries.first_live_run(mailing)) or 0
    live = db.session.scalars(queries.runs_of(mailing, since=since).limit(PAGE_SIZE)).all()
    earlier = queries.runs_of(mailing, before=since)
    return web.render(
        "mailings/show.html",
        block="rows" if request.args.get("after") else "live",
        mailing=mailing,
        live=live,
        since=since,
        earlier=paginate(earlier, Run.id, cursor=request.args.get("after"), descending=True),
        # Counted only where it is shown: the live part asks every second.
        recipients=lambda: caching.number(queries.how_many(service.audience_of(mailing))),
        what_comes_next=words.what_comes_next(mailing, is_waiting=_all_wait(live, now)),
        is_waiting=_all_wait(live, now),
        progress=progress_of(live, now),
        actions=_actions(mailing, live, now) if may_edit(mailing) else set(),
        **of_whom(mailing),
        may_resend=may_resend(mailing),
        poll_seconds=poll_seconds(live, [mailing], now),
        now=now,
    )


def _actions(mailing: Mailing, runs: Sequence[Run], now: datetime) -> set[str]:
    """What makes sense at the moment. The service decides; this only keeps buttons away that it would refuse."""
    is_sent_now = any(not run.is_finished for run in runs)
    is_over = mailing.end_at is not None and mailing.end_at <= now
    is_stopped = mailing.disabled_at is not None or mailing.paused_at is not None
    sensible = {
        "start": not (is_sent_now or is_over or is_stopped),
        "send_missed": not (is_sent_now or is_over or is_stopped),
        "pause": mailing.paused_at is None and mailing.status is not MailingStatus.COMPLETED,
        "resume": mailing.paused_at is not None,
        "cancel": is_sent_now,
        "edit": True,
        "delete": True,
    }
    return {action for action, makes_sense in sensible.items() if makes_sense}


# ── Runs ───────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.post(RUN + "/send")
@requires(Permission.OWN_THINGS)
def send_missed(mailing_id: int, run_id: int) -> Response:
    """Send a run that was missed, now."""
    mailing = find_editable(mailing_id)
    service.send_missed(mailing, find_run(mailing, run_id))
    db.session.commit()
    enqueue(jobs.prepare_runs)
    return done(mailing, _("The missed run has begun."))


@blueprint.post(RUN + "/decline")
@requires(Permission.OWN_THINGS)
def decline_missed(mailing_id: int, run_id: int) -> Response:
    """The owner decides against a run that was missed."""
    mailing = find_editable(mailing_id)
    service.decline(mailing, find_run(mailing, run_id))
    db.session.commit()
    return done(mailing, _("It will not be sent."))


# ── Shared ─────────────────────────────────────────────────────────────────────────────────────────────────


def find_mailing(mailing_id: int) -> Mailing:
    return find(queries.visible_to(signed_in()), mailing_id)


def find_editable(mailing_id: int) -> Mailing:
    return find(queries.editable_by(signed_in()), mailing_id)


def find(query: Select[Mailing], mailing_id: int) -> Mailing:
    mailing = db.session.scalar(queries.with_subject(query.where(Mailing.id == mailing_id)))
    if mailing is None:
        raise NotFound(_("There is no such mailing."))
    return mailing


def may_edit(mailing: Mailing) -> bool:
    user = signed_in()
    return mailing.owner_id == user.id or user.may(Permission.EDIT_OTHERS)


def may_resend(mailing: Mailing) -> bool:
    """Whether this person may send again what failed in a run of it."""
    return may_edit(mailing) and not mailing.disabled_at and not mailing.owner.is_stopped


def of_whom(mailing: Mailing) -> dict[str, Any]:
    """What the pages tell the staff that looks at somebody else's mailing."""
    user = signed_in()
    message = messages.readable_by(user).where(Message.id == mailing.message_id)
    return {
        "is_own": mailing.owner_id == user.id,
        "may_read_message": db.session.scalar(select(message.exists())) or False,
    }


def find_run(mailing: Mailing, run_id: int) -> Run:
    run = db.session.scalar(queries.runs_of(mailing).where(Run.id == run_id))
    if run is None:
        raise NotFound(_("This mailing has no such run."))
    return run


def asked_word(name: str) -> str:
    """A text in the address, without the NUL that PostgreSQL refuses."""
    return request.args.get(name, "").replace("\0", "").strip()


def asked_number(name: str) -> int | None:
    """A number in the address, or None where there is none that the database could know."""
    text = request.args.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_OF_AN_ID else None


def poll_seconds(runs: Iterable[Run], mailings: Iterable[Mailing], now: datetime) -> int | None:
    """How often the page should look again, or None when nothing will change by itself soon."""
    moving = [run for run in runs if not run.is_finished and (run.held_at is None or run.sending)]
    if any(run.sending or run.status is RunStatus.PREPARING for run in moving):
        return SENDING_POLL_SECONDS
    if any(_starts_soon(mailing, now) for mailing in mailings):
        return WAITING_POLL_SECONDS
    if moving:
        return RESTING_POLL_SECONDS if all(_rests_long(run, now) for run in moving) else WAITING_POLL_SECONDS
    return None


def _rests_long(run: Run, now: datetime) -> bool:
    return run.resume_at is not None and run.resume_at > now + SOON and progress.waits(run, now)


def _all_wait(runs: Iterable[Run], now: datetime) -> bool:
    unfinished = [run for run in runs if not run.is_finished]
    return bool(unfinished) and all(progress.waits(run, now) for run in unfinished)


def progress_of(runs: Iterable[Run], now: datetime) -> dict[int, Progress]:
    """How those of the runs get on that are not done; by their ids."""
    settings, redis = current_app.config["SETTINGS"], connection()
    found = {run.id: progress.of_run(run, settings, redis, now) for run in runs if not run.is_finished}
    return {run_id: one for run_id, one in found.items() if one is not None}


def _starts_soon(mailing: Mailing, now: datetime) -> bool:
    if mailing.next_run_at is None or mailing.paused_at or mailing.disabled_at:
        return False
    return mailing.next_run_at <= now + SOON
