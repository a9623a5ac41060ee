"""Which way the messages leave."""

from app.config import Settings
from app.delivery.http_api import HttpTransport
from app.delivery.smtp import SmtpTransport
from app.delivery.transport import Transport


def open_transport(settings: Settings) -> Transport:
    """The sending service when the settings name one, the mail server otherwise. It connects at the first message."""
    return HttpTransport(settings) if settings.send_api_url else SmtpTransport(settings)
