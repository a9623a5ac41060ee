"""What Golub's engine is compared with: the usual ways to send in Python, each in a process of its own."""

import json
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from enum import StrEnum

from bench.sinks import ROOT, Sink

SENDER = "golub@golub.test"
MESSAGE_BYTES = 8192
DISTINCT = 1000  # messages that are made; beyond, they are sent again to other recipients
NAME_MARK = "NAMEMARK"
PARAGRAPH = "{}, this spring we have put together what our readers asked for most: short, useful, and to the point. "
LONGEST_SECONDS = 600


class Way(StrEnum):
    SMTPLIB = "smtplib"  # sendmail over one connection, the bytes ready made
    FLASK_MAIL = "flask_mail"  # one connection; a Message for each recipient, as its users do
    CONNECTION_PER_MESSAGE = "connection_per_message"  # smtplib again, bytes ready made


def rate(way: Way, sink: Sink, count: int, port: int | None = None) -> float:
    """Send `count` messages and give messages per second.

    port: of what stands before the sink, such as a proxy; by default, the sink's own.

    Raises:
        RuntimeError: it failed, or the sink did not take exactly so many.
    """
    before = sink.accepted()
    command = [sys.executable, "-m", "bench.baselines", way, str(port or sink.port), str(count)]
    done = subprocess.run(  # noqa: S603  our own module
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS
    )
    if done.returncode != 0:
        raise RuntimeError(f"{way} failed: {done.stderr}")
    taken = sink.wait_for(before + count) - before
    if taken != count:
        raise RuntimeError(f"{way} sent {count} messages, and {sink.name} took {taken}")
    return count / float(json.loads(done.stdout)["seconds"])


def texts(name: str) -> tuple[str, str]:
    """Plain text and HTML of one personalised message."""
    line = PARAGRAPH.format(name)
    return "\n".join([line] * 18), "<html><body>" + f"<p>{line}</p>\n" * 44 + "</body></html>"


def recipient(number: int) -> str:
    return f"client{number}@clients.test"


def ready_made(count: int) -> list[bytes]:
    """At most 1,000 personalised multipart messages of 8 kB, as they go to DATA."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = f"News for {NAME_MARK}"
    message["From"] = f"Golub <{SENDER}>"
    message["To"] = f"{NAME_MARK}@clients.test"
    message["Date"] = "Sat, 21 Nov 2026 09:00:00 +0000"
    message["Message-ID"] = f"<{NAME_MARK}@golub.test>"
    plain, html = texts(NAME_MARK)
    message.set_content(plain)
    message.add_alternative(html, subtype="html")
    pattern = message.as_bytes()
    return [pattern.replace(NAME_MARK.encode(), f"client{n}".encode()) for n in range(min(count, DISTINCT))]


def _smtplib(port: int, count: int) -> Callable[[], None]:
    messages = ready_made(count)

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            for number in range(count):
                smtp.sendmail(SENDER, [recipient(number)], messages[number % DISTINCT])

    return send


def _connection_per_message(port: int, count: int) -> Callable[[], None]:
    messages = ready_made(count)

    def send() -> None:
        for number in range(count):
            with smtplib.SMTP("127.0.0.1", port) as smtp:
                smtp.sendmail(SENDER, [recipient(number)], messages[number % DISTINCT])

    return send


def _flask_mail(port: int, count: int) -> Callable[[], None]:
    # Here: the others' processes shall not carry Flask about.
    from flask import Flask  # noqa: PLC0415
    from flask_mail import Mail, Message  # noqa: PLC0415

    app = Flask("baseline")
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=port, MAIL_DEFAULT_SENDER=SENDER)
    mail = Mail(app)

    def send() -> None:
        with app.app_context(), mail.connect() as connection:
            for number in range(count):
                plain, html = texts(f"client{number}")
                connection.send(
                    Message(f"News for client{number}", recipients=[recipient(number)], body=plain, html=html)
                )

    return send


WAYS: dict[Way, Callable[[int, int], Callable[[], None]]] = {
    Way.SMTPLIB: _smtplib,
    Way.FLASK_MAIL: _flask_mail,
    Way.CONNECTION_PER_MESSAGE: _connection_per_message,
}


def main(arguments: Sequence[str]) -> None:
    way, port, count = arguments
    send = WAYS[Way(way)](int(port), int(count))
    begun = time.perf_counter()
    send()
    print(json.dumps({"seconds": time.perf_counter() - begun}))


if __name__ == "__main__":
    main(sys.argv[1:])
