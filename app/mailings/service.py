"""What an owner, the staff and the clock do with mailings."""

from dataclasses import dataclass
from datetime import datetime

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import Select, select

from app import clock
from app.auth import audit, outbox
from app.auth.models import Action, Letter, LetterKind, User
from app.clients.models import Client, Segment
from app.clients.queries import owned_by as clients_of
from app.clients.queries import segments_of
from app.delivery import service as delivery
from app.delivery.models import DeliveryStatus, Missed, Run, RunStatus
from app.errors import NotFound, RuleBroken
from app.extensions import db
from app.mailings import dispatch, trash
from app.mailings.misfires import HOWEVER_LATE, Rule
from app.mailings.models import Audience, Mailing, MailingStatus, mailing_client
from app.mailings.queries import recipients, runs_of, unfinished_runs_of, without
from app.mailings.schedule import Period, Schedule, latest_occurrence, occurrences, occurrences_between
from app.mailings.status import settle
from app.messages import queries as messages
from app.messages.models import Message
from app.messages.service import WRITTEN, copy
from app.undo import Deleted


@dataclass(frozen=True)
class Draft:
    """What an owner says of a mailing. `segment_id` and `client_ids` go with their audience.

    sender_name, reply_to: checked already, see `app.mailings.sender`; empty: none, and the owner's own address.
    """

    name: str
    message_id: int
    audience: Audience
    segment_id: int | None
    client_ids: tuple[int, ...]
    schedule: Schedule
    rule: Rule = HOWEVER_LATE
    exclude_segment_id: int | None = None
    sender_name: str = ""
    reply_to: str = ""


# What was missed for these reasons can be sent all the same.
SENDABLE = frozenset(
    {Missed.ASKED, Missed.UNANSWERED, Missed.DECLINED, Missed.RULE, Missed.TOO_LATE, Missed.NEXT_NEARER}
)


def create(owner: User, draft: Draft) -> Mailing:
    """A new mailing. Inside its window it is due at once, before it at its start.

    Raises:
        RuleBroken: when it could never run.
        NotFound: for a message, segment or client that is not the owner's.
    """
    mailing = Mailing(owner_id=owner.id, owner=owner)
    _fill(mailing, draft)
    db.session.add(mailing)
    _plan_first_run(mailing)
    db.session.flush()
    return mailing


def edit(mailing: Mailing, draft: Draft) -> None:
    """Change a mailing. It keeps its next run unless its schedule changes.

    A run that is being sent has its message and audience frozen, and goes on as it is.

    Raises:
        RuleBroken, NotFound: as for `create`, and while a run is being frozen.
    """
    _lock(mailing)
    _refuse_while_preparing(mailing)
    before = mailing.schedule
    _fill(mailing, draft)
    if mailing.schedule != before and not _is_due(mailing):
        _plan_first_run(mailing)
    settle([mailing.id])


def start_now(mailing: Mailing) -> Run:
    """Begin a run at once, beside the schedule; a one-off mailing that has not begun is brought forward.

    Raises:
        RuleBroken: when it is paused, disabled, over, or being sent.
    """
    _lock(mailing)
    _refuse_while_sending(mailing)
    _refuse_unless_startable(mailing)
    db.session.flush()
    dispatch.end_questions([mailing.id], Missed.COLLAPSED)
    run = dispatch.begin_by_hand(mailing, _sender())
    if mailing.period is Period.ONCE:
        mailing.next_run_at = None
    mailing.status = MailingStatus.RUNNING
    return run


def send_missed(mailing: Mailing, run: Run) -> None:
    """Send an occurrence that was missed, now.

    Raises:
        RuleBroken: when it was not missed, or is represented by a later one, and wherever `start_now` would.
    """
    _lock(mailing)
    _refuse_while_sending(mailing)
    _refuse_unless_startable(mailing)
    db.session.refresh(run)
    if run.missed not in SENDABLE:
        raise RuleBroken(_("This run was not missed, or a later one stands for it."))
    dispatch.begin_missed(mailing, run, _sender())
    settle([mailing.id])


def decline(mailing: Mailing, run: Run) -> None:
    """The owner decides that a missed occurrence is not sent.

    Raises:
        RuleBroken: when nobody asks.
    """
    _lock(mailing)
    db.session.refresh(run)
    if run.missed is not Missed.ASKED:
        raise RuleBroken(_("There is nothing to decide about this run any more."))
    run.missed = Missed.DECLINED
    settle([mailing.id])


def resend(mailing: Mailing, run: Run, status: DeliveryStatus) -> int:
    """Send what failed in this run of the mailing, or what is unknown, once more; returns how many messages those are.

    A paused mailing takes them along, and sends them when it is resumed.

    Raises:
        RuleBroken: when it is deleted or disabled, its owner is blocked, or there is nothing to send again.
    """
    _lock(mailing)
    _refuse_where_nothing_may_be_sent(mailing)
    again = delivery.resend(run.id, status)
    if not again:
        raise RuleBroken(
            _("There is nothing to send again: it is on its way already, or its clients take no letters any more.")
        )
    hold_runs(mailing)
    db.session.refresh(run)
    settle([mailing.id])
    return again


def pause(mailing: Mailing) -> None:
    """Send nothing more from the next claim on, until it is resumed.

    Raises:
        RuleBroken: when there is nothing to pause.
    """
    _lock(mailing)
    if mailing.paused_at is not None:
        raise RuleBroken(_("This mailing is paused already."))
    if mailing.status is MailingStatus.COMPLETED:
        raise RuleBroken(_("This mailing is completed: there is nothing to pause."))
    mailing.paused_at = clock.now()
    hold_runs(mailing)
    settle([mailing.id])


def resume(mailing: Mailing) -> None:
    """Go on where the pause began. Occurrences missed meanwhile collapse into one.

    Raises:
        RuleBroken: when it is not paused.
    """
    _lock(mailing)
    if mailing.paused_at is None:
        raise RuleBroken(_("This mailing is not paused."))
    mailing.paused_at = None
    hold_runs(mailing)
    settle([mailing.id])


def cancel(mailing: Mailing, run: Run) -> None:
    """End this run of the mailing: what waits is skipped, what is in a worker's hands finishes. The next one comes.

    Raises:
        RuleBroken: when it is over already.
    """
    _lock(mailing)
    db.session.refresh(run)
    if run.is_finished:
        raise RuleBroken(_("This run is over already."))
    delivery.cancel(run)
    db.session.refresh(run)
    settle([mailing.id])


def delete(mailing: Mailing) -> Deleted:
    """Take a mailing away: nothing goes out from the next claim on. The ledger of what was sent stays.

    What waits is held until the mailing can't come back any more, and is skipped then: see `trash`.
    """
    audit.record(Action.DELETED, owner_id=mailing.owner_id, subject=f"mailing {mailing.id}")
    return trash.delete(select(Mailing).where(Mailing.id == mailing.id))


def disable(mailing: Mailing, by: User, reason: str) -> Letter:
    """A manager stops the mailing from the next claim on. Only a manager lifts it. The letter tells its owner.

    Raises:
        RuleBroken: when it is disabled already.
    """
    _lock(mailing)
    if mailing.disabled_at is not None:
        raise RuleBroken(_("This mailing is disabled already."))
    mailing.disabled_at, mailing.disabled_by, mailing.disabled_reason = clock.now(), by, reason
    hold_runs(mailing)
    audit.record(Action.MAILING_DISABLED, owner_id=mailing.owner_id, subject=f"mailing {mailing.id}", why=reason)
    return outbox.write(LetterKind.MAILING_DISABLED, mailing.owner, mailing=mailing.name, reason=reason)


def enable(mailing: Mailing) -> Letter:
    """A disabled mailing goes on, as after a pause. The letter tells its owner.

    Raises:
        RuleBroken: when it is not disabled.
    """
    _lock(mailing)
    if mailing.disabled_at is None:
        raise RuleBroken(_("This mailing is not disabled."))
    mailing.disabled_at, mailing.disabled_by, mailing.disabled_reason = None, None, ""
    hold_runs(mailing)
    audit.record(Action.MAILING_ENABLED, owner_id=mailing.owner_id, subject=f"mailing {mailing.id}")
    return outbox.write(LetterKind.MAILING_ENABLED, mailing.owner, mailing=mailing.name)


def hold_runs_of(owner: User) -> None:
    """The same as `hold_runs` for all mailings of somebody who was just blocked, unblocked, has left or come back."""
    db.session.flush()
    # Locked, so that a dispatcher either has begun its runs, which are held below, or sees the owner as they are now.
    mine = select(Mailing.id).where(Mailing.owner_id == owner.id)
    db.session.scalars(mine.order_by(Mailing.id).with_for_update()).all()
    db.session.refresh(owner)  # blocked or unblocked by somebody else meanwhile?
    if owner.is_stopped:
        delivery.hold(mine, held=True)
    else:
        delivery.hold(mine.where(*trash.MAY_GO_ON), held=False)


def hold_runs(mailing: Mailing) -> None:
    """Have the mailing's unfinished runs stop or go on, as its state and its owner's say. In the same transaction."""
    db.session.flush()
    db.session.refresh(mailing.owner)  # blocked by somebody else since this request began?
    stops = (mailing.paused_at, mailing.disabled_at, mailing.deleted_at)
    held = any(moment is not None for moment in stops) or mailing.owner.is_stopped
    delivery.hold([mailing.id], held=held)


def audience_of(mailing: Mailing) -> Select[Client]:
    """The clients that a run of this mailing would go to now: active ones only."""
    chosen = select(mailing_client.c.client_id).where(mailing_client.c.mailing_id == mailing.id)
    found = recipients(mailing.owner_id, mailing.audience, mailing.segment, chosen)
    return without(found, mailing.exclude_segment)


def _fill(mailing: Mailing, draft: Draft) -> None:
    start_at, end_at = draft.schedule.start_at, draft.schedule.end_at
    if end_at is not None and end_at <= start_at:
        raise RuleBroken(_("The end must come after the start."))
    mailing.name = draft.name
    mailing.message = _own_message(mailing.owner, draft.message_id)
    mailing.audience = draft.audience
    mailing.segment = _own_segment(mailing.owner, draft.segment_id) if draft.audience is Audience.SEGMENT else None
    mailing.chosen_clients = _own_clients(mailing.owner, draft) if draft.audience is Audience.CHOSEN else []
    excluded = draft.exclude_segment_id
    mailing.exclude_segment = None if excluded is None else _own_segment(mailing.owner, excluded)
    mailing.sender_name, mailing.reply_to = draft.sender_name, draft.reply_to
    mailing.schedule = draft.schedule
    mailing.misfire, late_max = draft.rule.misfire, draft.rule.late_max
    mailing.late_seconds_max = None if late_max is None else int(late_max.total_seconds())


def _plan_first_run(mailing: Mailing) -> None:
    """Inside its window a mailing that has never run is due at once; one that has, at its next occurrence."""
    now = clock.now()
    if mailing.end_at is not None and mailing.end_at <= now:
        raise RuleBroken(_("The end is over already, so this mailing would never run."))
    mailing.next_run_at = first_run(mailing.schedule, now=now, has_run=has_run(mailing))
    if mailing.next_run_at is None and not has_run(mailing):
        raise RuleBroken(_("With these times it would never run."))


def _is_due(mailing: Mailing) -> bool:
    """Whether an occurrence waits to be begun, or to be told as missed, that the schedule still has."""
    due = mailing.next_run_at
    if due is None or due > clock.now() or not has_run(mailing):
        return False
    return next(occurrences_between(mailing.schedule, due, due), None) is not None


def first_run(schedule: Schedule, *, now: datetime, has_run: bool) -> datetime | None:
    """When a mailing with this schedule begins if it is saved now; `now` itself where an occurrence is past already."""
    if not has_run and latest_occurrence(schedule, until=now) is not None:
        return now
    return next(occurrences(schedule, after=now), None)


def has_run(mailing: Mailing) -> bool:
    """Whether any occurrence of it is past, begun or missed."""
    return mailing.id is not None and db.session.scalar(runs_of(mailing).limit(1)) is not None


def _lock(mailing: Mailing) -> None:
    """Two clicks at once, or a click and the clock: the second one waits, and sees what the first one did."""
    db.session.flush()
    db.session.refresh(mailing, with_for_update={"of": Mailing})


def _own_message(owner: User, message_id: int) -> Message:
    """The message; of somebody else's from the common library a copy: what its author does to it later is not ours."""
    message = db.session.scalar(messages.usable_by(owner).where(Message.id == message_id))
    if message is None:
        raise NotFound(_("There is no such message."))
    if message.owner_id == owner.id:
        return message
    same = [getattr(Message, name) == getattr(message, name) for name in WRITTEN]
    return db.session.scalar(messages.owned_by(owner).where(*same).limit(1)) or copy(message, owner)


def _own_segment(owner: User, segment_id: int | None) -> Segment:
    segment = db.session.scalar(segments_of(owner).where(Segment.id == segment_id))
    if segment is None:
        raise NotFound(_("There is no such segment."))
    return segment


def _own_clients(owner: User, draft: Draft) -> list[Client]:
    chosen = list(db.session.scalars(clients_of(owner).where(Client.id.in_(draft.client_ids))))
    if len(chosen) != len(set(draft.client_ids)):
        raise NotFound(_("One of the chosen clients is not in your address book."))
    return chosen


def _refuse_while_sending(mailing: Mailing) -> None:
    if db.session.scalar(unfinished_runs_of(mailing).limit(1)) is not None:
        raise RuleBroken(_("A run of this mailing is not finished yet. Wait until it is done."))


def _refuse_while_preparing(mailing: Mailing) -> None:
    """Its audience is being frozen at this moment: half of it would come of the old plan, half of the new one."""
    preparing = unfinished_runs_of(mailing).where(Run.status == RunStatus.PREPARING).limit(1)
    if db.session.scalar(preparing) is not None:
        raise RuleBroken(_("A run of this mailing is just being prepared. Try again in a moment."))


def _refuse_unless_startable(mailing: Mailing) -> None:
    _refuse_where_nothing_may_be_sent(mailing)
    if mailing.paused_at is not None:
        raise RuleBroken(_("This mailing is paused. Resume it first."))
    if mailing.end_at is not None and mailing.end_at <= clock.now():
        raise RuleBroken(_("The end of this mailing is over. Give it a new end first."))


def _refuse_where_nothing_may_be_sent(mailing: Mailing) -> None:
    if mailing.deleted_at is not None:
        raise RuleBroken(_("This mailing is deleted."))
    if mailing.owner.is_stopped:
        raise RuleBroken(_("The owner of this mailing is blocked, or has left."))
    if mailing.disabled_at is not None:
        raise RuleBroken(_("A manager has disabled this mailing."))


def _sender() -> str:
    return str(current_app.config["SETTINGS"].mail_default_sender)
