"""From a run's frozen message to the bytes of one recipient's letter."""

from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

import css_inline

from app import clock
from app.delivery.transport import Envelope
from app.mail import envelope_address

_inliner = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True)


def inline_css(html: str) -> str:
    """A whole page with its style rules moved into the elements: many mail programs look nowhere else."""
    page = _inliner.inline(html)
    # Without a doctype browsers and mail programs fall back to the layout rules of the nineties.
    return page if page.lower().startswith("<!doctype") else f"<!doctype html>\n{page}"


EnvelopeMaker = Callable[[int, str], Envelope]


def compile_message(run_id: int, sender: str, subject: str, html: str, text: str) -> EnvelopeMaker:
    """Do once what is the same for all recipients, and return what makes one delivery's envelope.

    The function returned takes a delivery's id and its recipient's address. The Message-ID is the same at each try,
    so that a recipient's own server can tell a repetition.
    """
    message = EmailMessage(policy=SMTP)
    message["Subject"] = subject
    message["From"] = sender
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    common = bytes(message)
    address = parseaddr(sender)[1]
    domain = address.rpartition("@")[2]

    def envelope(delivery_id: int, recipient: str) -> Envelope:
        to = envelope_address(recipient)
        headers = (
            f"To: {to}\r\n"
            f"Date: {format_datetime(clock.now())}\r\n"
            f"Message-ID: <delivery-{delivery_id}.run-{run_id}@{domain}>\r\n"
        )
        return Envelope(delivery_id, address, to, headers.encode() + common)

    return envelope
