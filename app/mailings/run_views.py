"""Pages of runs, and what became of every single message. The routes belong to the blueprint of mailings."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, dataclass
from functools import cache
from http import HTTPStatus

from flask import Response, abort, flash, request, stream_with_context, url_for
from flask_babel import format_number, ngettext
from flask_babel import gettext as _

from app import clock, web
from app.auth.access import requires
from app.auth.roles import Permission
from app.delivery import reports
from app.delivery.models import Delivery, DeliveryStatus, Run
from app.delivery.reports import Counted
from app.delivery.service import RESENDABLE
from app.errors import NotFound
from app.extensions import db
from app.mailings import export, figures, jobs, queries, service
from app.mailings.models import Mailing
from app.mailings.views import (
    MAILING,
    RUN,
    asked_number,
    asked_word,
    blueprint,
    done,
    find_editable,
    find_mailing,
    find_run,
    may_edit,
    may_resend,
    of_whom,
    poll_seconds,
    progress_of,
)
from app.messages import preview
from app.paging import PAGE_SIZE, Page, paginate
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
PARTS = ("live", "report", "messages")  # of the page, that HTMX asks for by their names
SMALL_POLL_SECONDS = 5
BIG_POLL_SECONDS = 15
COUNTING_POLL_SECONDS = 3
NO_ANSWER = "none"  # in the place of a code


@dataclass(frozen=True)
class Filters:
    """What the address says of the messages to be shown. Empty words leave nothing out.

    q: the beginning of an address. code: of three digits, or NO_ANSWER. answer: the name of one in the report.
    """

    q: str
    status: str
    code: str
    answer: str

    @classmethod
    def of_request(cls) -> "Filters":
        code = asked_word("code")
        is_code = code == NO_ANSWER or (code.isascii() and code.isdigit() and len(code) == len("550"))
        return cls(asked_word("q"), asked_word("status"), code if is_code else "", asked_word("answer"))

    @property
    def number(self) -> int | None:
        return None if self.code == NO_ANSWER else int(self.code)

    def __bool__(self) -> bool:
        return any(astuple(self))

    def as_query(self, **changes: str) -> dict[str, str]:
        """The same for an address, with these changes."""
        return {name: value for name, value in (asdict(self) | changes).items() if value}


@blueprint.get(RUN)
@requires(Permission.OWN_THINGS, Permission.SEE_OTHERS)
def show_run(mailing_id: int, run_id: int) -> Response:
    mailing = find_mailing(mailing_id)
    parts = [part for part in PARTS if part in request.args]
    return _show_run(mailing, find_run(mailing, run_id), parts[0] if parts else "deliveries")


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
    return _run_changed(mailing, run, sentence)


@blueprint.post(RUN + "/cancel")
@requires(Permission.OWN_THINGS)
def cancel_run(mailing_id: int, run_id: int) -> Response:
    """End a run that is being sent."""
    mailing = find_editable(mailing_id)
    run = find_run(mailing, run_id)
    service.cancel(mailing, run)
    db.session.commit()
    return _run_changed(mailing, run, _("The run is cancelled."))


def _run_changed(mailing: Mailing, run: Run, sentence: str) -> Response:
    """The page from which it was changed: the mailing's, or the run's own."""
    if "since" in request.args:
        return done(mailing, sentence)
    flash(sentence, "success")
    if not web.wants_fragment():
        return web.redirect_to(url_for(".show_run", mailing_id=mailing.id, run_id=run.id))
    answer = _show_run(mailing, run, "live")
    answer.headers["HX-Trigger"] = "run-changed"  # for the parts of the page that have stopped looking
    return answer


def _show_run(mailing: Mailing, run: Run, block: str) -> Response:
    now = clock.now()
    filters = Filters.of_request()

    @cache
    def report() -> Counted | None:
        return _report(run)

    seconds = poll_seconds([run], [], now)
    return web.render(
        "mailings/run.html",
        block="rows" if asked_word("after") else block,
        mailing=mailing,
        run=run,
        page=_deliveries(run, filters, report),
        filters=filters,
        states=LEDGER,
        progress=progress_of([run], now),
        may_edit=may_edit(mailing),
        may_resend=may_resend(mailing),
        poll_seconds=seconds,
        # Counted only where it is shown: the live part asks every second.
        report=report,
        timeline=figures.timeline,
        report_seconds=lambda: _report_seconds(run, report(), is_moving=seconds is not None),
        now=now,
        **of_whom(mailing),
    )


def _report(run: Run) -> Counted | None:
    """What was counted of the run; where that is old, a job is asked to count anew."""
    counted = reports.of_run(run)
    if reports.is_wanted(run, counted):
        enqueue(jobs.count_run, run.id)
    return counted


def _report_seconds(run: Run, counted: Counted | None, *, is_moving: bool) -> int | None:
    """How often the page asks for the report, or None when it has the last one."""
    if run.is_finished:
        return None if counted is not None and counted.is_current else COUNTING_POLL_SECONDS
    if not is_moving:
        return None
    return SMALL_POLL_SECONDS if run.planned <= reports.SMALL else BIG_POLL_SECONDS


def _deliveries(run: Run, filters: Filters, report: Callable[[], Counted | None]) -> Page[Delivery]:
    """One page of the run's messages: all, or those in that state, with such an address, with such an answer."""
    among = queries.deliveries_like(run, filters.status, filters.q)
    if not filters.code and not filters.answer:
        return paginate(among, Delivery.id, cursor=asked_word("after"))
    counted = report() if filters.answer else None
    answer = counted.answer(filters.answer) if counted else None
    if filters.answer and answer is None:
        return Page([], None)
    code = answer.code if answer else filters.number
    found, following = reports.answered(run, among, code, answer, after=asked_number("after") or 0, size=PAGE_SIZE)
    return Page(found, None if following is None else str(following))


@blueprint.get(RUN + "/report")
@requires(Permission.OWN_THINGS, Permission.SEE_OTHERS)
def print_run(mailing_id: int, run_id: int) -> Response:
    """The run's report on paper."""
    mailing = find_mailing(mailing_id)
    run = find_run(mailing, run_id)
    counted = _report(run)
    return web.render(
        "mailings/report.html",
        mailing=mailing,
        run=run,
        states=LEDGER,
        counted=counted,
        timeline=figures.timeline(counted) if counted else None,
        now=clock.now(),
    )


@blueprint.get(RUN + "/report.csv")
@requires(Permission.OWN_THINGS)
def export_run_csv(mailing_id: int, run_id: int) -> Response:
    run = find_run(find_editable(mailing_id), run_id)
    return _download(export.run_as_csv(run.id), f"run-{run.id}.csv", "text/csv")


@blueprint.get(RUN + "/report.xlsx")
@requires(Permission.OWN_THINGS)
def export_run_xlsx(mailing_id: int, run_id: int) -> Response:
    run = find_run(find_editable(mailing_id), run_id)
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    return _download(export.run_as_xlsx(run.id), f"run-{run.id}.xlsx", kind)


def _download(pieces: Iterator[bytes], name: str, kind: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(stream_with_context(pieces), mimetype=kind, headers=headers)


@blueprint.get(MAILING + "/runs")
@requires(Permission.OWN_THINGS, Permission.SEE_OTHERS)
def compare_runs(mailing_id: int) -> Response:
    """All runs of a mailing beside one another, the newest first."""
    mailing = find_mailing(mailing_id)
    page = paginate(queries.figures_of_runs(mailing), Run.id, cursor=request.args.get("after"), descending=True)
    outcomes, spans = figures.compared(page.items[::-1], mailing.timezone)
    return web.render(
        "mailings/runs.html",
        block="rows",
        mailing=mailing,
        page=page,
        ends=figures.ENDS,
        outcomes=outcomes,
        spans=spans,
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
        block="drawer" if "drawer" in request.args else "attempts",
        in_drawer="drawer" in request.args and web.wants_fragment(),
        mailing=mailing,
        run=run,
        delivery=delivery,
        attempts=db.session.scalars(queries.attempts_of(delivery)).all(),
        previous_id=db.session.scalar(queries.delivery_before(delivery)),
        next_id=db.session.scalar(queries.delivery_after(delivery)),
        **of_whom(mailing),
    )
