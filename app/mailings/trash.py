"""Mailings that are deleted: held while they can come back, cancelled for good afterwards. And many of them at once."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, exists, or_, select, update
from sqlalchemy import delete as delete_rows

from app import clock
from app.auth import audit
from app.auth.models import Action, User
from app.auth.roles import Permission
from app.delivery import service as delivery
from app.delivery.models import Missed, Run, RunStatus
from app.extensions import db
from app.mailings import dispatch
from app.mailings.models import Audience, Mailing, MailingStatus
from app.mailings.status import settle
from app.messages.models import Message
from app.undo import Deleted, bring_back, mark_deleted

# As far as the mailing itself is asked: its owner may be stopped, too.
MAY_GO_ON = (Mailing.paused_at.is_(None), Mailing.disabled_at.is_(None), Mailing.deleted_at.is_(None))


def delete(which: Select[Mailing]) -> Deleted:
    """Nothing of these mailings goes out from the next claim on. What they had planned stays as it is."""
    deleted = mark_deleted(Mailing, which)
    delivery.hold(select(Mailing.id).where(Mailing.deleted_at == deleted.moment), held=True)
    return deleted


def delete_all(owner: User, which: Select[Mailing]) -> Deleted:
    """The same for many at once, which must be the owner's."""
    deleted = delete(which)
    audit.record(Action.DELETED, owner_id=owner.id, subject=f"mailings: {deleted.count}")
    return deleted


def restore(user: User, moment: datetime) -> list[Mailing]:
    """Take a deletion back: each mailing goes on with what it had planned, and with the messages that waited.

    An occurrence that was due meanwhile is treated as any that is late. Call `jobs.announce_all` after the commit.
    """
    theirs = [] if user.may(Permission.EDIT_OTHERS) else [Mailing.owner_id == user.id]
    query = select(Mailing).where(Mailing.deleted_at == moment, *theirs).order_by(Mailing.id)
    ids = db.session.scalars(query.with_only_columns(Mailing.id).with_for_update(key_share=True)).all()
    if not ids:
        return []
    bring_back(Mailing, moment, Mailing.id.in_(ids))
    _free(ids)
    settle(ids)
    audit.record(Action.RESTORED, owner_id=user.id, subject=f"mailings: {len(ids)}")
    return list(db.session.scalars(select(Mailing).where(Mailing.id.in_(ids)).order_by(Mailing.id)))


def pause_all(which: Select[Mailing]) -> int:
    """Pause those of these mailings that can be paused; how many those were."""
    ids = _locked(which.where(Mailing.paused_at.is_(None), Mailing.status != MailingStatus.COMPLETED))
    _set_paused(ids, clock.now())
    delivery.hold(ids, held=True)
    settle(ids)
    return len(ids)


def resume_all(which: Select[Mailing]) -> int:
    """Resume those of these mailings that are paused; how many. Call `jobs.announce_all` after the commit."""
    ids = _locked(which.where(Mailing.paused_at.is_not(None)))
    _set_paused(ids, None)
    _free(ids)
    settle(ids)
    return len(ids)


def _locked(which: Select[Mailing]) -> list[int]:
    ids = which.with_only_columns(Mailing.id).order_by(None).order_by(Mailing.id)
    return list(db.session.scalars(ids.with_for_update(of=Mailing)))


def _set_paused(ids: list[int], paused_at: datetime | None) -> None:
    rows = update(Mailing).where(Mailing.id.in_(ids)).values(paused_at=paused_at)
    db.session.execute(rows.execution_options(synchronize_session=False))
    db.session.expire_all()


def _free(ids: Sequence[int]) -> None:
    """Let the runs of these mailings go on, where nothing else stops them."""
    free = select(Mailing.id).join(User, User.id == Mailing.owner_id)
    delivery.hold(free.where(Mailing.id.in_(ids), *MAY_GO_ON, ~User.is_stopped), held=False)


def bury_messages(deleted_before: datetime) -> None:
    """Take messages away for good that were deleted before then, and that no mailing sends or has sent."""
    is_sent = exists().where(Mailing.message_id == Message.id)
    gone = select(Message.id).where(Message.deleted_at < deleted_before, ~is_sent)
    rows = delete_rows(Message).where(Message.id.in_(gone))
    db.session.execute(rows.execution_options(synchronize_session=False))


def runs_to_cancel(deleted_before: datetime) -> Select[int, int]:
    """Runs, and their mailings, that go on no more: their mailings were deleted before then."""
    is_deleted = (Mailing.id == Run.mailing_id, Mailing.deleted_at < deleted_before)
    goes_on = (Run.status != RunStatus.DONE, Run.cancelled_at.is_(None))
    return select(Run.id, Run.mailing_id).where(*is_deleted, *goes_on).order_by(Run.id)


def bury(deleted_before: datetime, limit: int) -> int:
    """What mailings had planned that were deleted before then is forgotten; how many mailings those were."""
    asks = exists().where(Run.mailing_id == Mailing.id, Run.missed == Missed.ASKED)
    uses = or_(Mailing.segment_id.is_not(None), Mailing.exclude_segment_id.is_not(None))
    plans = or_(Mailing.next_run_at.is_not(None), uses, asks)
    some = select(Mailing).where(Mailing.deleted_at < deleted_before, plans).order_by(Mailing.id).limit(limit)
    mailings = db.session.scalars(some.with_for_update(of=Mailing, skip_locked=True)).all()
    for mailing in mailings:
        mailing.next_run_at = None
        dispatch.end_questions([mailing.id], Missed.DECLINED)
        # Nobody asks for its segments again, and they may be deleted, too.
        mailing.exclude_segment = None
        if mailing.audience is Audience.SEGMENT:
            mailing.audience, mailing.segment = Audience.ALL, None
    settle([mailing.id for mailing in mailings])
    return len(mailings)
