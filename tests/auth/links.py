"""What a reader does with a letter: look for the link, and click on it."""

import re
from email.message import EmailMessage

from tests.smtp import Received, RecordingSmtp

TOKEN = re.compile(r"""(csrf_token" value="|X-CSRFToken": ")[^"]+""")
LINK = re.compile(r"http://golub\.test(/(?:auth|account)/(?:verify|reset|email|restore)/[\w.-]+)")


def text_of(letter: Received, kind: str = "plain") -> str:
    part = letter.message.get_body((kind,))
    assert isinstance(part, EmailMessage)
    return str(part.get_content())


def without_tokens(page: str) -> str:
    """A page that can be compared with another: its tokens change with every second."""
    return TOKEN.sub(r"\1", page)


def link_in(smtp: RecordingSmtp, address: str) -> str:
    """The path in the newest letter to this address."""
    found = LINK.search(text_of(smtp.to(address)[-1]))
    assert found
    return found[1]
