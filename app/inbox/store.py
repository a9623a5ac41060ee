"""The letters that the local inbox took, one file each: `<time_ns>-<random>.eml`, so that names sort by time.

The first line of a file is a header of our own with what the server was told; the bytes of the letter follow.
So any mail program opens the file, and a listing reads one line of it.
"""

import json
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.inbox.parsing import printable, subject_of
from app.paging import Page

ID_PATTERN = re.compile(r"\d{20}-[0-9a-f]{8}")
ENVELOPE = b"X-Golub-Envelope: "
PAGE_SIZE = 50


@dataclass(frozen=True)
class Letter:
    """One letter as the server took it. Sender and recipients are those of its envelope."""

    id: str
    sender: str
    recipients: list[str]
    subject: str
    size: int  # bytes, without the envelope

    @property
    def received_at(self) -> datetime:
        return datetime.fromtimestamp(int(self.id.partition("-")[0]) / 1e9, UTC)

    def mentions(self, words: str) -> bool:
        """Whether the subject, the sender or a recipient contains `words`, without case."""
        texts = (self.subject, self.sender, *self.recipients)
        return any(words.casefold() in text.casefold() for text in texts)


class Store:
    """The folder with the letters. Server and web application share it, so a letter may go at any moment."""

    def __init__(self, instance_path: Path) -> None:
        self.folder = instance_path / "inbox"

    def save(self, sender: str, recipients: list[str], content: bytes) -> Letter:
        """Keep one letter. Its file appears whole or not at all.

        Raises:
            OSError: when it can't be written.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        letter = Letter(
            id=f"{time.time_ns():020d}-{secrets.token_hex(4)}",
            sender=sender,
            recipients=recipients,
            subject=subject_of(content),
            size=len(content),
        )
        envelope = {"from": sender, "to": recipients, "subject": letter.subject, "size": letter.size}
        unfinished = self.folder / f"{letter.id}.tmp"
        unfinished.write_bytes(ENVELOPE + json.dumps(envelope).encode() + b"\r\n" + content)
        unfinished.rename(self._path(letter.id))
        return letter

    def letters(self, search: str = "", before: str | None = None, size: int = PAGE_SIZE) -> Page[Letter]:
        """One page, newest first, beginning after the letter `before`; `search` as in `Letter.mentions`."""
        found: list[Letter] = []
        for letter in self._read_all(reversed(self.ids())):
            if (before and letter.id >= before) or not letter.mentions(search):
                continue
            if len(found) == size:
                return Page(found, found[-1].id)
            found.append(letter)
        return Page(found, None)

    def letter(self, letter_id: str) -> tuple[Letter, bytes] | None:
        """The letter and its source, or None when there is none of that id."""
        if not ID_PATTERN.fullmatch(letter_id):
            return None
        try:
            first_line, _newline, content = self._path(letter_id).read_bytes().partition(b"\r\n")
        except FileNotFoundError:
            return None
        letter = _letter(letter_id, first_line)
        return (letter, content) if letter else None

    def ids(self) -> list[str]:
        """All ids, oldest first."""
        return sorted(path.stem for path in self.folder.glob("*.eml") if ID_PATTERN.fullmatch(path.stem))

    def delete(self, letter_id: str) -> None:
        """Delete a letter of `ids()`; it may be gone already."""
        self._path(letter_id).unlink(missing_ok=True)

    def delete_all(self) -> int:
        """Delete every letter there is now; gives their number."""
        ids = self.ids()
        for letter_id in ids:
            self.delete(letter_id)
        return len(ids)

    def delete_unfinished(self) -> None:
        """Remove what a killed server was writing."""
        for path in self.folder.glob("*.tmp"):
            path.unlink(missing_ok=True)

    def _read_all(self, ids: Iterable[str]) -> Iterator[Letter]:
        for letter_id in ids:
            try:
                with self._path(letter_id).open("rb") as file:
                    letter = _letter(letter_id, file.readline())
            except FileNotFoundError:
                continue
            if letter:
                yield letter

    def _path(self, letter_id: str) -> Path:
        return self.folder / f"{letter_id}.eml"


def _letter(letter_id: str, first_line: bytes) -> Letter | None:
    """None for a file that the server did not write."""
    try:
        envelope = json.loads(first_line.removeprefix(ENVELOPE))
        return Letter(
            id=letter_id,
            sender=printable(str(envelope["from"])),
            recipients=[printable(str(address)) for address in envelope["to"]],
            subject=printable(str(envelope["subject"])),
            size=int(envelope["size"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
