"""A person at the pages over HTTP alone: follows links, fills in forms as they come, brings cookies and tokens."""

import re
from datetime import datetime
from html import unescape
from typing import Any

import requests

from tests.make import PASSWORD
from tests.smtp import RecordingSmtp
from tests.waiting import PATIENCE_SECONDS, wait_until

HIDDEN_TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')
VERIFICATION_LINK = re.compile(r"https?://\S+/auth/verify/\S+")


class Person:
    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._session = requests.Session()

    def close(self) -> None:
        self._session.close()

    def see(self, path: str) -> str:
        """The page at this path, which must be there."""
        answer = self._session.get(self._url(path), timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.text

    def fill_in(self, path: str, action: str | None = None, **fields: Any) -> str:
        """Open the page, fill in its form, send it (to `action`, else where it is), and follow where that leads."""
        token = HIDDEN_TOKEN.search(self.see(path))
        assert token is not None, f"no form at {path}"
        data = {"csrf_token": unescape(token[1])} | fields
        answer = self._session.post(self._url(action or path), data=data, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.text

    def sign_up(self, email: str, mail_server: RecordingSmtp) -> None:
        """Register, and follow the link in the letter."""
        self.fill_in("/auth/register", email=email, password=PASSWORD, name="Olga", timezone="Europe/Moscow")
        wait_until(lambda: mail_server.to(email))
        [letter] = mail_server.to(email)
        text = letter.message.get_body(("plain",))
        assert text is not None
        link = VERIFICATION_LINK.search(text.get_content())
        assert link is not None
        assert link[0].startswith(self.base_url)
        self.fill_in(link[0])
        self.see("/overview")

    def write_message(self, subject: str) -> str:
        """Write a message, and give its id."""
        self.fill_in("/messages/new", subject=subject, html=f"<p>{subject} for you</p>", text="")
        found = re.search(r"/messages/(\d+)", self.see("/messages/"))
        assert found is not None
        return found[1]

    def plan(self, name: str, message_id: str, start: datetime, period: str) -> None:
        """Plan a mailing to all clients; `start` is naive, in UTC."""
        self.fill_in(
            "/mailings/new",
            name=name,
            message_id=message_id,
            audience="all",
            start_at=start.strftime("%Y-%m-%dT%H:%M:%S"),
            period=period,
            timezone="UTC",
        )

    def _url(self, path: str) -> str:
        return path if path.startswith("http") else self.base_url + path
