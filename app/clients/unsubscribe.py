"""The link by which a recipient takes themselves off, without an account: the link is the secret."""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable

from sqlalchemy import update

from app.clients.models import Client, ClientStatus
from app.config import Settings
from app.extensions import db

PURPOSE = b"golub.unsubscribe"
PATH = "/unsubscribe/"
BYTES_OF_SIGNATURE = 12
LARGEST_ID = 2**63 - 1  # what a column can hold
TOKEN = re.compile(r"(0|[1-9][0-9]{0,18})-([A-Za-z0-9_-]{16})", re.ASCII)


def link_maker(settings: Settings) -> Callable[[int], str]:
    """What makes the link from a client's id: under BASE_URL, signed with HMAC-SHA256 (RFC 2104)."""
    signer = _signer(settings)
    start = settings.base_url + PATH

    def link(client_id: int) -> str:
        return f"{start}{client_id}-{_signature(signer, client_id)}"

    return link


def client_id_of(token: str, settings: Settings) -> int | None:
    """Whose link this is, or None when we did not make it."""
    match = TOKEN.fullmatch(token)
    if match is None:
        return None
    client_id = int(match[1])
    is_ours = hmac.compare_digest(_signature(_signer(settings), client_id), match[2])
    return client_id if is_ours and client_id <= LARGEST_ID else None


def _signer(settings: Settings) -> hmac.HMAC:
    """With a key for this purpose alone: nothing else that the secret signs is of any use here."""
    key = hmac.digest(settings.secret_key.encode(), PURPOSE, "sha256")
    return hmac.new(key, digestmod="sha256")


def _signature(signer: hmac.HMAC, client_id: int) -> str:
    signing = signer.copy()  # half the time of a new one, and there are millions
    signing.update(b"%d" % client_id)
    return urlsafe_b64encode(signing.digest()[:BYTES_OF_SIGNATURE]).decode()


def unsubscribe(client_id: int) -> None:
    """Send this client nothing more. Whoever gets nothing already keeps the reason."""
    _change(client_id, ClientStatus.ACTIVE, ClientStatus.UNSUBSCRIBED)


def subscribe_again(client_id: int) -> None:
    """Take it back. Addresses that bounced or complained stay as they are."""
    _change(client_id, ClientStatus.UNSUBSCRIBED, ClientStatus.ACTIVE)


def _change(client_id: int, before: ClientStatus, after: ClientStatus) -> None:
    db.session.execute(update(Client).where(Client.id == client_id, Client.status == before).values(status=after))


def half_hidden(email: str) -> str:
    """Enough of an address for its owner to know it: a***@example.com."""
    local, at, domain = email.rpartition("@")
    return f"{local[:1]}***{at}{domain}"
