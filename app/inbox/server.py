"""The SMTP server of development: takes every letter, and sends none on."""

import asyncio
import signal
from collections import deque

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from app.config import Settings
from app.inbox.store import Letter, Store

HOST = "127.0.0.1"
LARGEST_LETTER_BYTES = 32 * 1024 * 1024
KEPT_LETTERS = 5_000

log = structlog.get_logger("inbox")


class Keeper:
    """aiosmtpd's handler: keeps each letter, and of all letters the newest."""

    def __init__(self, store: Store, kept: int = KEPT_LETTERS) -> None:
        self._store = store
        self._most = kept
        store.delete_unfinished()
        # The web application deletes letters, too. Their ids stay here, and are the oldest: of the letters
        # there are, the newest are always kept.
        self._ids = deque(store.ids())
        self._forget_oldest()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  its name
        content = envelope.content
        if not isinstance(content, bytes):
            raise TypeError("the server must not decode letters")
        try:
            letter = self._store.save(envelope.mail_from or "", envelope.rcpt_tos, content)
        except OSError as error:
            log.error("letter.lost", error=str(error))
            return "452 4.3.1 The inbox can't write: " + (error.strerror or "unknown error")
        self._ids.append(letter.id)
        self._forget_oldest()
        _log(letter)
        return "250 2.0.0 Kept as " + letter.id

    def _forget_oldest(self) -> None:
        while len(self._ids) > self._most:
            self._store.delete(self._ids.popleft())


def _log(letter: Letter) -> None:
    log.info(
        "letter",
        sender=letter.sender,
        to=", ".join(letter.recipients),
        size=letter.size,
        subject=letter.subject,
    )


async def serve(settings: Settings) -> None:
    """Take letters on the inbox's port until SIGTERM or SIGINT.

    Raises:
        OSError: when the port can't be had.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    store = Store(settings.instance_path)
    keeper = Keeper(store)

    def connection() -> SMTP:
        return SMTP(
            keeper,
            data_size_limit=LARGEST_LETTER_BYTES,
            enable_SMTPUTF8=True,
            decode_data=False,
            hostname="localhost",
            ident="Golub's inbox",
            loop=loop,
        )

    server = await loop.create_server(connection, HOST, settings.inbox_port)
    log.info("inbox.ready", address=f"{HOST}:{settings.inbox_port}", folder=str(store.folder))
    await stopped.wait()
    # No wait for open connections: workers keep theirs between letters, and know what was not answered.
    server.close()
    log.info("inbox.stopped")
