"""E-mail addresses: checked, normalised, and compared as people mean them."""

from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email
from flask_babel import gettext as _

from app.errors import GolubError

LONGEST_ADDRESS = 254  # RFC 5321, 4.5.3.1.3: a path of 256 with its brackets


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
        raise BadAddress(_("This is not a usable e-mail address: %(why)s", why=str(error))) from None
    key = f"{parsed.local_part}@{parsed.ascii_domain}".casefold()
    # The key may be the longer one: with the domain in ASCII, or when lower case needs more letters than upper case.
    if max(len(parsed.normalized.encode()), len(key)) > LONGEST_ADDRESS:
        raise BadAddress(_("This e-mail address is longer than %(limit)s characters.", limit=LONGEST_ADDRESS))
    return Address(email=parsed.normalized, key=key)
