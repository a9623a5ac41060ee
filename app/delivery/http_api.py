"""Sending through a service that takes messages over HTTP, one JSON POST each. docs/sending.md has the contract."""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial

import httpx

from app import clock
from app.config import Settings
from app.delivery.http_connection import FAULTS, HttpConnection
from app.delivery.models import Stage
from app.delivery.transport import LONGEST_REPLY, Answer, Begin, Envelope, Reply, TransportAway

LONGEST_BODY = 64 * 1024  # bytes of an answer that are read
SHORTEST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(hours=24)
JSON_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json\s*(?:;|$)", re.IGNORECASE)
NOT_US = {401, 403, 407}  # the service does not know us, or does not let us
TOO_MANY = 429


class HttpTransport:
    """Posts each envelope to `send_api_url` over one kept connection."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = HttpConnection(settings.mail_timeout_seconds)
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a small answer may unpack into a very big one
            "Content-Type": "application/json",
            "User-Agent": "Golub",
        }
        if settings.send_api_token:
            self._headers["Authorization"] = f"Bearer {settings.send_api_token}"

    def send(self, envelopes: Iterable[Envelope], begin: Begin) -> Iterator[Answer]:
        for envelope in envelopes:
            yield self._send_one(envelope, begin)

    def interrupt(self) -> None:
        self._connection.interrupt()

    def close(self) -> None:
        self._connection.close()

    def _send_one(self, envelope: Envelope, begin: Begin) -> Answer:
        try:
            response = self._connection.handle_request(self._request(envelope, begin))
        except FAULTS as fault:
            words = self._clean(self._words(fault))
            if not self._connection.has_begun:
                raise TransportAway(words) from fault
            return Answer(envelope.delivery_id, Stage.BODY, Reply.NONE, None, words)
        return self._answer(envelope.delivery_id, response, self._read(response))

    def _request(self, envelope: Envelope, begin: Begin) -> httpx.Request:
        content = {
            "from": envelope.sender,
            "to": envelope.recipient,
            "raw": b64encode(envelope.content).decode("ascii"),
        }
        return httpx.Request(
            "POST",
            self._settings.send_api_url,
            headers=self._headers | {"Idempotency-Key": idempotency_key(self._settings.base_url, envelope)},
            content=json.dumps(content).encode("ascii"),
            extensions={"begin": partial(begin, envelope.delivery_id)},
        )

    def _read(self, response: httpx.Response) -> "_Body":
        """The answer's body, as far as it came and is not too long."""
        content = b""
        try:
            for part in response.iter_raw():
                content += part
                if len(content) > LONGEST_BODY:
                    return _Body(content[:LONGEST_BODY], "the answer is longer than 64 kB")
        except FAULTS as fault:
            return _Body(content, f"the answer broke off: {self._words(fault)}")
        finally:
            response.close()
        return _Body(content)

    def _answer(self, delivery_id: int, response: httpx.Response, body: "_Body") -> Answer:
        kind = _kind_of(response.status_code)
        retry_after = None
        if kind is Reply.ACCEPTED:
            try:
                words = f"id {_message_id(response, body)}"
            except ValueError as fault:
                kind, words = Reply.NONE, f"not the promised answer: {fault}"
        elif response.is_redirect or kind is Reply.NONE:
            words = f"no answer to a message, SEND_API_URL may be wrong {response.headers.get('location', '')}"
        else:
            words = _text_of(response, body)
        if kind is Reply.LATER:
            retry_after = wait_of(response.headers.get("retry-after", ""), clock.now())
        reply = self._clean(f"HTTP {response.status_code} {response.reason_phrase}: {words}")
        return Answer(delivery_id, Stage.BODY, kind, response.status_code, reply, retry_after=retry_after)

    def _words(self, fault: Exception) -> str:
        """Why there was no answer."""
        if self._connection.is_interrupted:
            return "Golub broke the wait for an answer off."
        return str(fault) or type(fault).__name__

    def _clean(self, text: str) -> str:
        """One line without the token, which a service may repeat, and without what does not show."""
        if self._settings.send_api_token:
            text = text.replace(self._settings.send_api_token, "[hidden]")
        shown = "".join(letter if letter.isprintable() else " " for letter in text)
        return " ".join(shown.split()).removesuffix(":")[:LONGEST_REPLY]


@dataclass(frozen=True, slots=True)
class _Body:
    content: bytes
    fault: str = ""  # why it is not whole


def idempotency_key(installation: str, envelope: Envelope) -> str:
    """What names this message to the service, the same at each try (draft-ietf-httpapi-idempotency-key-header).

    installation: its address. With the addresses of the message it keeps deliveries apart that have one number: of two
    installations with one account, or of a database that was set up anew. Otherwise the service would take the second
    for a repetition, and never send it.
    """
    what = "\n".join((installation, str(envelope.delivery_id), envelope.sender, envelope.recipient))
    return f"golub-{envelope.delivery_id}-{hashlib.sha256(what.encode()).hexdigest()[:24]}"


def wait_of(retry_after: str, now: datetime) -> timedelta | None:
    """How long the service asks us to wait: seconds or a date (RFC 9110, 10.2.3), 1 s to 24 h; None for nonsense."""
    text = retry_after.strip()
    if re.fullmatch(r"[0-9]+", text):
        wait = LONGEST_WAIT if len(text) > 6 else timedelta(seconds=int(text))
    else:
        try:
            moment = parsedate_to_datetime(text)
            wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
        except (ValueError, OverflowError):
            return None
    return min(max(wait, SHORTEST_WAIT), LONGEST_WAIT)


def _kind_of(status: int) -> Reply:
    match status // 100:
        case 2:
            return Reply.ACCEPTED
        case 3:
            return Reply.OUR_FAULT  # moved: following it would hand the token and the message to somebody else
        case 4 if status in NOT_US:
            return Reply.OUR_FAULT
        case 4:
            return Reply.LATER if status == TOO_MANY else Reply.REFUSED
        case 5:
            return Reply.LATER
        case _:
            return Reply.NONE


def _is_encoded(response: httpx.Response) -> bool:
    return response.headers.get("content-encoding", "identity").strip().lower() != "identity"


def _message_id(response: httpx.Response, body: _Body) -> str:
    """The name that the service gave the message.

    Raises:
        ValueError: with what keeps this answer from being the promised one.
    """
    if body.fault:
        raise ValueError(body.fault)
    if _is_encoded(response):
        raise ValueError("it is encoded, which nobody asked for")
    if not JSON_TYPE.match(response.headers.get("content-type", "")):
        raise ValueError(f"no application/json but {response.headers.get('content-type', 'without a type')}")
    try:
        promised = json.loads(body.content)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    name = promised.get("id") if isinstance(promised, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise ValueError("no JSON object with an id")
    return name


def _text_of(response: httpx.Response, body: _Body) -> str:
    return "" if _is_encoded(response) else body.content.decode("utf-8", "replace")
