"""How often somebody may try: per network, and per account, whether there is one or not."""

import hashlib
import ipaddress
from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Response, request, session
from flask_login import current_user

from app.addresses import BadAddress, parse_address
from app.extensions import limiter

View = TypeVar("View", bound=Callable[..., Any])
Key = Callable[[], str]

# Of the tries that fail. An account's own limit is the loose one: else anybody could lock somebody out with ten tries.
PER_NETWORK = "30 per 15 minutes"
PER_ACCOUNT_AND_NETWORK = "10 per 15 minutes"
PER_ACCOUNT = "100 per hour"
LETTERS_PER_NETWORK = "30 per hour"
LETTERS_PER_ACCOUNT = "5 per hour"
EXPORTS = "5 per hour"
TEST_LETTERS = "30 per hour"
SECOND_FACTOR = "second_factor"  # what the session keeps between password and code: see app.auth.views


def limit_tries(account: Key) -> Callable[[View], View]:
    """For a view that takes a password or a code of `account`, and answers a wrong one with 422."""

    def both() -> str:
        return f"{account()} {network()}"

    def decorate(view: View) -> View:
        for rate, scope, key in (
            (PER_NETWORK, "tries-network", network),
            (PER_ACCOUNT_AND_NETWORK, "tries-both", both),
            (PER_ACCOUNT, "tries-account", account),
        ):
            limit = limiter.shared_limit(rate, scope, key_func=key, methods=["POST"], deduct_when=_failed)
            view = cast("View", limit(view))
        return view

    return decorate


def limit_letters(account: Key) -> Callable[[View], View]:
    """For a view that sends a letter to whatever address somebody writes."""

    def decorate(view: View) -> View:
        for rate, scope, key in (
            (LETTERS_PER_NETWORK, "letters-network", network),
            (LETTERS_PER_ACCOUNT, "letters-account", account),
        ):
            limit = limiter.shared_limit(rate, scope, key_func=key, methods=["POST"], deduct_when=_done)
            view = cast("View", limit(view))
        return view

    return decorate


def limit_exports(view: View) -> View:
    """For a view that makes much work."""
    return cast("View", limiter.limit(EXPORTS, key_func=own_account)(view))


def limit_test_letters(view: View) -> View:
    """For a view that sends somebody a letter of their own making, to their own address."""
    limit = limiter.shared_limit(
        TEST_LETTERS, "test-letters", key_func=own_account, methods=["POST"], deduct_when=_done
    )
    return cast("View", limit(view))


def network() -> str:
    """Who asks: an IPv4 address, or the /64 that somebody with IPv6 has to themself."""
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    address = getattr(address, "ipv4_mapped", None) or address  # a socket for both kinds of addresses says ::ffff:…
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def typed_account() -> str:
    """The account of the address in the form, whether there is one or not."""
    return _account_of(request.form.get("email", ""))


def typed_new_account() -> str:
    """The same where somebody wants another address than their own."""
    return _account_of(request.form.get("new_email", ""))


def _account_of(typed: str) -> str:
    try:
        typed = parse_address(typed).key
    except BadAddress:
        return network()
    # Redis need not know who has an account, or wants one.
    return hashlib.sha256(typed.encode()).hexdigest()[:32]


def own_account() -> str:
    """Of whoever is logged in, or has shown the password and owes the code."""
    if current_user.is_authenticated:
        return f"user-{current_user.id}"
    waiting = session.get(SECOND_FACTOR)
    return f"user-{waiting[0]}" if waiting else network()


def _failed(response: Response) -> bool:
    return response.status_code == 422


def _done(response: Response) -> bool:
    return response.status_code < 400
