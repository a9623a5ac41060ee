"""Accounts, without HTTP."""

import pytest

from app.addresses import BadAddress
from app.auth import service
from app.auth.roles import Role
from app.errors import RuleBroken
from app.extensions import db
from tests import make

pytestmark = pytest.mark.usefixtures("context")


def test_an_administrator_made_by_command_may_log_in_at_once():
    made = service.create_admin("Admin@Example.test", "a long password", "The admin")
    assert (made.role, made.name, made.email) == (Role.ADMIN, "The admin", "Admin@example.test")
    assert service.authenticate("admin@example.test", "a long password") is made


def test_an_administrator_needs_an_address_of_their_own():
    make.user("taken@example.test")
    with pytest.raises(RuleBroken, match="has an account already"):
        service.create_admin("TAKEN@example.test", "a long password", "")


@pytest.mark.parametrize("password", ["nine char", "x" * 129, "password12345", "admin@example.test", "aaaaaaaaaaaa"])
def test_an_administrators_password_is_no_weaker_than_others(password):
    with pytest.raises(service.WeakPassword):
        service.create_admin("admin@example.test", password, "")


def test_an_administrators_address_must_be_one():
    with pytest.raises(BadAddress):
        service.create_admin("admin", "a long password", "")


def test_role_and_language_can_be_set():
    user = make.user("anna@example.test")
    service.set_role(user, Role.EDITOR)
    service.set_locale(user, "ru")
    db.session.flush()
    db.session.refresh(user)
    assert (user.role, user.locale) == (Role.EDITOR, "ru")


def test_confirming_twice_keeps_the_first_moment():
    user = make.user("anna@example.test", verified_at=None)
    service.verify(user)
    first = user.verified_at
    service.verify(user)
    assert user.verified_at == first
