"""E-mail addresses: checked, normalised, and compared as people mean them."""

import re
from dataclasses import dataclass
from functools import lru_cache

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from flask_babel import gettext as _

from app.errors import GolubError

LONGEST_TEXT = 1000  # characters; an address may be longer in Unicode than it is allowed to be in the end
LONGEST_ADDRESS = 254  # RFC 5321, 4.5.3.1.3: a path of 256 with its brackets
LONGEST_LOCAL_PART = 64  # RFC 5321, 4.5.3.1.1
DOMAINS_KEPT = 50_000

# What nearly all addresses look like. Whatever is rarer is no mistake, and left to email-validator.
PLAIN = re.compile(r"([A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*)@([A-Za-z0-9.-]+)")
PLAIN_DOMAIN = re.compile(r"(?:(?=[a-z0-9-]{1,63}\.)[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,63}")


class BadAddress(GolubError):
    """The text is no address that a letter can be sent to; says why."""


@dataclass(frozen=True)
class Address:
    email: str  # as it is shown and sent to: Unicode NFC, the domain in Unicode and lower case
    key: str  # as it is compared: the domain in ASCII, all without case


def parse_address(text: str) -> Address:
    """The address in `text`, which may have blanks around it.

    International domains (IDNA 2008) and local parts outside ASCII (RFC 6531) are taken. Two addresses that differ
    in case only, or in how their domain is written, have the same key.

    Raises:
        BadAddress: with a sentence for the person who wrote it.
    """
    text = text.strip()
    if not text:
        raise BadAddress(_("Write an e-mail address."))
    if len(text) > LONGEST_TEXT:  # reading megabytes takes seconds
        raise BadAddress(_("This e-mail address is longer than %(limit)s characters.", limit=LONGEST_ADDRESS))
    try:
        parsed = validate_email(
            text,
            check_deliverability=False,
            allow_smtputf8=True,
            allow_quoted_local=False,
            allow_domain_literal=False,
            strict=True,  # at most 64 characters before the @ (RFC 5321, 4.5.3.1.1)
            test_environment=True,  # *.test and *.example are somebody's test addresses, not mistakes
        )
    except EmailNotValidError as error:
        raise BadAddress(_("This is not a usable e-mail address: %(why)s", why=_reason(str(error)))) from None
    key = f"{parsed.local_part}@{parsed.ascii_domain}".casefold()
    # The key may be the longer one: with the domain in ASCII, or when lower case needs more letters than upper case.
    if max(len(parsed.normalized.encode()), len(key)) > LONGEST_ADDRESS:
        raise BadAddress(_("This e-mail address is longer than %(limit)s characters.", limit=LONGEST_ADDRESS))
    return Address(email=parsed.normalized, key=key)


def plain_address(text: str) -> tuple[str, str] | None:
    """E-mail and key as `parse_address` gives them, in a fiftieth of its time, when the text is a plain address.

    None says nothing against the text: `parse_address` knows.
    """
    plain = PLAIN.fullmatch(text)
    if plain is None:
        return None
    local, domain = plain.groups()
    lower = _plain_domain(domain)
    if lower is None or len(local) > LONGEST_LOCAL_PART or len(text) > LONGEST_ADDRESS:
        return None
    return f"{local}@{lower}", f"{local.lower()}@{lower}"


@lru_cache(DOMAINS_KEPT)
def _plain_domain(domain: str) -> str | None:
    """The domain in lower case, when nothing about it is unusual: no Punycode, no name that is reserved."""
    lower = domain.lower()
    if not PLAIN_DOMAIN.fullmatch(lower):
        return None
    is_special = any(f".{lower}".endswith(f".{name}") for name in SPECIAL_USE_DOMAIN_NAMES if name != "test")
    return None if is_special else lower


def _reason(words: str) -> str:
    """What email-validator says in English, as a sentence in the reader's language."""
    reasons = (
        ("must have an @-sign", _("it needs an @.")),
        ("something before the @-sign", _("something must stand before the @.")),
        ("something after the @-sign", _("something must stand after the @.")),
        ("should have a period", _("the part after the @ needs a dot.")),
        ("two periods in a row", _("two dots stand in a row.")),
        ("special-use or reserved", _("nobody has e-mail at this domain.")),
        ("too long", _("it is too long.")),
        ("before the @-sign", _("the part before the @ has characters that don't belong there.")),
        ("after the @-sign", _("the part after the @ is no domain.")),
    )
    return next((reason for part, reason in reasons if part in words), _("something in it does not belong there."))
