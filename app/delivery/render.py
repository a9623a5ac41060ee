"""From a run's frozen message to the bytes of one recipient's letter."""

from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Any

import css_inline

from app import clock
from app.config import Settings
from app.delivery.models import Run
from app.delivery.transport import Envelope
from app.mail import envelope_address

_inliner = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True)


def inline_css(html: str) -> str:
    """A whole page with its style rules moved into the elements: many mail programs look nowhere else."""
    page = _inliner.inline(html)
    # Without a doctype browsers and mail programs fall back to the layout rules of the nineties.
    return page if page.lower().startswith("<!doctype") else f"<!doctype html>\n{page}"


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom one letter goes to."""

    delivery_id: int
    client_id: int | None
    email: str
    first_name: str
    last_name: str
    patronymic: str
    birth_year: int | None
    attributes: dict[str, Any]


@dataclass(frozen=True)
class FrozenMessage:
    run_id: int
    mailing_id: int
    sender: str
    reply_to: str
    subject: str
    html: str
    text: str


EnvelopeMaker = Callable[[Recipient], Envelope]


def frozen(run: Run, settings: Settings) -> FrozenMessage:
    return FrozenMessage(run.id, run.mailing_id, run.sender, run.reply_to, run.subject, run.html, run.text)


def compile_message(frozen: FrozenMessage) -> EnvelopeMaker:
    """Do once what is the same for all recipients, and return what makes one delivery's envelope."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = frozen.subject
    message["From"] = frozen.sender
    message.set_content(frozen.text)
    message.add_alternative(frozen.html, subtype="html")
    common = bytes(message)
    address = parseaddr(frozen.sender)[1]
    domain = address.rpartition("@")[2]

    def envelope(recipient: Recipient) -> Envelope:
        to = envelope_address(recipient.email)
        headers = (
            f"To: {to}\r\n"
            f"Date: {format_datetime(clock.now())}\r\n"
            f"Message-ID: <delivery-{recipient.delivery_id}.run-{frozen.run_id}@{domain}>\r\n"
        )
        return Envelope(recipient.delivery_id, address, to, headers.encode() + common)

    return envelope
