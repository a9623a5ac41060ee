"""A person at the pages over HTTP alone: follows links, fills in forms as they come, brings cookies and tokens."""

import re
from html import unescape
from typing import Any

import requests

HIDDEN_TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')
SECONDS = 20


class Person:
    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._session = requests.Session()

    def close(self) -> None:
        self._session.close()

    def see(self, path: str) -> str:
        """The page at this path, which must be there."""
        answer = self._session.get(self._url(path), timeout=SECONDS)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.text

    def fill_in(self, path: str, action: str | None = None, **fields: Any) -> str:
        """Open the page, fill in its form, send it (to `action`, else where it is), and follow where that leads."""
        token = HIDDEN_TOKEN.search(self.see(path))
        assert token is not None, f"no form at {path}"
        data = {"csrf_token": unescape(token[1])} | fields
        answer = self._session.post(self._url(action or path), data=data, timeout=SECONDS)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.text

    def _url(self, path: str) -> str:
        return path if path.startswith("http") else self.base_url + path
