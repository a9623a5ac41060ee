"""What a letter says, however broken: a wrong charset or structure shows as it can, and raises nothing."""

from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import default

LONGEST_HEAD_BYTES = 64 * 1024  # where the subject is looked for
LONGEST_HEADER = 10_000  # characters shown of one header
MOST_HEADERS = 500


@dataclass(frozen=True)
class Attachment:
    name: str
    type: str
    size: int  # bytes


@dataclass
class Contents:
    """A letter taken apart. `html` or `text` is None when it has no such part."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    html: str | None = None
    text: str | None = None
    attachments: list[Attachment] = field(default_factory=list)


def parse(source: bytes) -> Contents:
    """Take a letter apart. Where the standard library gives up, the text is the whole source."""
    try:
        return _parse(source)
    except Exception:  # broken letters make it raise IndexError, AttributeError, RecursionError and whatnot
        return Contents(text=_decode(source, None))


def subject_of(source: bytes) -> str:
    """The subject on one line, or an empty text."""
    try:
        head = BytesHeaderParser().parsebytes(source[:LONGEST_HEAD_BYTES])
    except Exception:  # see parse()
        return ""
    values = (value for name, value in head.raw_items() if name.lower() == "subject")
    return " ".join(_decode_header(next(values, "")).split())


def printable(text: str) -> str:
    """`text` without lone surrogates, which no page can be encoded with."""
    return text.encode("utf-8", "replace").decode()


def _parse(source: bytes) -> Contents:
    # Under the old policy: the modern one parses Content-Type at once, and raises when it is none.
    message = message_from_bytes(source)
    headers = list(message.raw_items())[:MOST_HEADERS]
    contents = Contents(headers=[(printable(name), _decode_header(value)) for name, value in headers])
    for part in message.walk():
        if not part.is_multipart():
            _add_part(contents, part)
    return contents


def _add_part(contents: Contents, part: Message) -> None:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    kind = part.get_content_type()
    name = part.get_filename()
    # A leaf that calls itself multipart has no boundary or no end: what stands in it can still be read.
    is_text = name is None and (kind == "text/plain" or kind.startswith("multipart/"))
    if kind == "text/html" and name is None and contents.html is None:
        contents.html = _decode(data, part.get_content_charset())
    elif is_text and contents.text is None:
        contents.text = _decode(data, part.get_content_charset())
    else:
        contents.attachments.append(Attachment(_decode_header(name or ""), printable(kind), len(data)))


def _decode(data: bytes, charset: str | None) -> str:
    try:
        return printable(data.decode(charset or "utf-8", "replace"))
    except (LookupError, ValueError):  # there is no such charset, or none that makes text
        return data.decode("utf-8", "replace")


def _decode_header(raw: str) -> str:
    raw = str(raw)[:LONGEST_HEADER]
    try:
        # As a subject, whatever it is: addresses read well so, and their own parser is slow and falls over.
        return printable(str(default.header_fetch_parse("Subject", raw)))
    except Exception:  # see parse()
        return printable(raw)
