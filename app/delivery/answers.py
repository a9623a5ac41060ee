"""Mail servers' answers, grouped: which of them say the same, whatever address, host or queue id they say it about."""

import hashlib
import re
from dataclasses import dataclass

GAP = "…"
LONGEST = 200  # characters of an answer's words
# What differs from letter to letter: addresses, links, hosts, and all that has a digit.
DIFFERS = re.compile(r"[\d@<>]|://|\w\.\w")


@dataclass(frozen=True)
class Answer:
    """What a mail server said, without what it said it about.

    code: of 3 digits (RFC 5321, 4.2), None where no answer came. enhanced_code: such as 5.1.1 (RFC 3463), or "".
    """

    code: int | None
    enhanced_code: str
    words: str

    @property
    def key(self) -> str:
        """A short name for addresses of pages."""
        told = f"{self.code}\n{self.enhanced_code}\n{self.words}"
        return hashlib.blake2s(told.encode(), digest_size=6).hexdigest()


def answer_of(code: int | None, enhanced_code: str | None, reply: str) -> Answer:
    """What this reply has in common with others: "550 5.1.1 <anna@example.test>: unknown" says "… unknown"."""
    text = reply.replace(enhanced_code, " ") if enhanced_code else reply
    words: list[str] = []
    for word in text.split():
        if not DIFFERS.search(word):
            words.append(word)
        elif words and words[-1] != GAP:  # nobody misses one at the beginning
            words.append(GAP)
    return Answer(code, enhanced_code or "", " ".join(words)[:LONGEST])
