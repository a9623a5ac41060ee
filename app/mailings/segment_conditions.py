"""What a segment can ask about mailings: when a client was last written to, and what became of one mailing's letters.

`clients` stands below: these kinds of conditions are given to it when the application is made.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import lazy_pgettext, ngettext
from sqlalchemy import ColumnElement, Exists, and_, not_, select

from app.clients.conditions import Book, Condition, DateCondition, Input, add_kind, day_in_words
from app.clients.fields import BadField
from app.clients.models import Client
from app.delivery.models import Delivery, DeliveryStatus, Run
from app.extensions import db
from app.mailings.models import Mailing

MOST_OFFERED = 100  # mailings, the newest
DIGITS_OF_AN_ID = 9
NEVER = "never"
NOT_IN = "not_in"
ANY = "any"


class MailedCondition(DateCondition):
    """When the last letter was sent: one that the mail server took."""

    key = "mailed"
    label = _l("Last mailed")
    operators: ClassVar[Mapping[str, Any]] = {NEVER: lazy_pgettext("last mailed", "never"), **DateCondition.operators}

    def inputs(self) -> Sequence[Input]:
        return [] if self.op == NEVER else super().inputs()

    def parsed(self) -> dict[str, Any]:
        return {} if self.op == NEVER else super().parsed()

    def compared(self, edge: datetime) -> ColumnElement[bool]:
        since = _has_delivery(Delivery.status == DeliveryStatus.SENT, Delivery.finished_at >= edge)
        ever = _has_delivery(Delivery.status == DeliveryStatus.SENT)
        match self.op:
            case "never":
                return not_(ever)
            case "before":
                return and_(ever, not_(since))
            case "not_within":
                return not_(since)
            case _:
                return since

    def words(self) -> str:
        match self.op:
            case "never":
                return _("never mailed")
            case "before":
                return _("last mailed before %(day)s", day=day_in_words(self.values["day"]))
            case "after":
                return _("last mailed since %(day)s", day=day_in_words(self.values["day"]))
            case "within":
                return ngettext(
                    "mailed in the last %(num)s day", "mailed in the last %(num)s days", self.values["days"]
                )
            case _:
                return ngettext(
                    "not mailed in the last %(num)s day", "not mailed in the last %(num)s days", self.values["days"]
                )


class MailingCondition(Condition):
    """Whether the client took part in a mailing, and what became of it in any of its runs."""

    key = "mailing"
    label = _l("Mailing")
    operators: ClassVar[Mapping[str, Any]] = {
        ANY: _l("took part"),
        DeliveryStatus.SENT.value: _l("took part: sent"),
        DeliveryStatus.FAILED.value: _l("took part: failed"),
        DeliveryStatus.UNKNOWN.value: _l("took part: unknown"),
        DeliveryStatus.SKIPPED.value: _l("took part: skipped"),
        NOT_IN: _l("did not take part"),
    }

    def inputs(self) -> Sequence[Input]:
        offered = dict(self._offered())
        present = _number(str(self.values.get("mailing", "")))
        if present is not None and present not in offered and (found := _find(present, self.book)):
            offered[present] = f"{found[0]} {self.if_gone}" if found[1] else found[0]
        first = _("Choose a mailing…") if offered else _("There are no mailings yet")
        choices = [("", first), *((str(mailing_id), name) for mailing_id, name in offered.items())]
        return [Input("mailing", self.label, "select", choices)]

    def parsed(self) -> dict[str, Any]:
        mailing_id = _number(self.values.get("mailing", ""))
        if mailing_id is None:
            raise BadField(_("Choose a mailing."))
        if _find(mailing_id, self.book) is None:
            raise BadField(_("There is no such mailing."))
        return {"mailing": mailing_id}

    def holds(self) -> ColumnElement[bool]:
        of_mailing = Delivery.run_id.in_(select(Run.id).where(Run.mailing_id == self.values["mailing"]))
        if self.op in (ANY, NOT_IN):
            took_part = _has_delivery(of_mailing)
            return took_part if self.op == ANY else not_(took_part)
        return _has_delivery(of_mailing, Delivery.status == DeliveryStatus(self.op))

    def words(self) -> str:
        found = _find(self.values["mailing"], self.book)
        name = found[0] if found else "…"
        match self.op:
            case "any":
                return _("took part in the mailing “%(name)s”", name=name)
            case DeliveryStatus.SENT:
                return _("was sent the mailing “%(name)s”", name=name)
            case DeliveryStatus.FAILED:
                return _("failed in the mailing “%(name)s”", name=name)
            case DeliveryStatus.UNKNOWN:
                return _("outcome unknown in the mailing “%(name)s”", name=name)
            case DeliveryStatus.SKIPPED:
                return _("skipped in the mailing “%(name)s”", name=name)
            case _:
                return _("did not take part in the mailing “%(name)s”", name=name)

    def is_gone(self) -> bool:
        found = _find(self.values["mailing"], self.book)
        return found is None or found[1]

    def _offered(self) -> Sequence[tuple[int, str]]:
        newest = (
            select(Mailing.id, Mailing.name)
            .where(Mailing.owner_id == self.book.owner_id, Mailing.deleted_at.is_(None))
            .order_by(Mailing.id.desc())
            .limit(MOST_OFFERED)
        )
        return self.book.once("mailings", lambda: [(row.id, row.name) for row in db.session.execute(newest)])


def _has_delivery(*conditions: ColumnElement[bool]) -> Exists:
    of_client = select(Delivery.id).where(Delivery.client_id == Client.id, *conditions)
    return of_client.correlate(Client).exists()


def _find(mailing_id: int, book: Book) -> tuple[str, bool] | None:
    """The name of the owner's mailing, and whether it is deleted; None for what is not theirs."""
    own = select(Mailing.name, Mailing.deleted_at).where(Mailing.id == mailing_id, Mailing.owner_id == book.owner_id)

    def find() -> tuple[str, bool] | None:
        row = db.session.execute(own).one_or_none()
        return row and (row.name, row.deleted_at is not None)

    return book.once(("mailing", mailing_id), find)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_OF_AN_ID else None


def init() -> None:
    """Offer these kinds of conditions in segments."""
    add_kind(MailedCondition)
    add_kind(MailingCondition)
