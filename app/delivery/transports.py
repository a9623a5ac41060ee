"""Which way the messages leave."""

from app.config import Settings
from app.delivery.smtp import SmtpTransport
from app.delivery.transport import Transport


def open_transport(settings: Settings) -> Transport:
    return SmtpTransport(settings)
