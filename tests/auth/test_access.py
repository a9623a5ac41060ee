"""Who may open which view."""

import pytest
from flask import Flask
from flask_login import login_user

from app.auth import access
from app.auth.roles import Permission
from app.errors import NotAllowed

VIEWS = {
    "login": access.requires(),
    **{permission: access.requires(permission) for permission in Permission},
    "either": access.requires(Permission.RUN_BLOG, Permission.SEE_OTHERS),
}
OPEN_TO = {
    "owner": {"login", "own_things", "see_library", "see_log"},
    "manager": {
        "login",
        "see_library",
        "see_others",
        "disable_mailings",
        "block_users",
        "see_log",
        "see_addresses",
        "see_audit",
        "either",
    },
    "editor": {"login", "run_blog", "either"},
    "admin": set(VIEWS),
}


def named(allows):
    @allows
    def view():
        """Says who is there."""
        return access.signed_in().email

    return view


def as_user(app: Flask, user, view, **request):
    with app.test_request_context("/somewhere?x=1", **request):
        if user:
            login_user(user)
        return view()


@pytest.mark.parametrize("name", OPEN_TO)
def test_each_area_is_open_to_its_roles_alone(app, request, name):
    person = request.getfixturevalue(name)
    for area, allows in VIEWS.items():
        if area in OPEN_TO[name]:
            assert as_user(app, person, named(allows)) == person.email
        else:
            with pytest.raises(NotAllowed):
                as_user(app, person, named(allows))


@pytest.mark.parametrize("allows", VIEWS.values())
def test_a_guest_is_asked_to_log_in_and_comes_back(app, allows):
    answer = as_user(app, None, named(allows))
    assert answer.status_code == 302
    assert answer.location == "/auth/login?next=/somewhere?x%3D1"


def test_a_form_that_a_guest_sent_is_no_page_to_come_back_to(app):
    assert as_user(app, None, named(access.requires(Permission.OWN_THINGS)), method="POST").location == "/auth/login"


@pytest.mark.parametrize(
    ("page", "back"),
    [
        ("http://localhost/clients/?q=x", "?next=/clients/?q%3Dx"),
        ("http://localhost/clients/", "?next=/clients/"),
        ("http://localhost//evil.example/", ""),
        ("", ""),
    ],
)
def test_for_htmx_a_log_in_that_ran_out_is_401_and_leads_to_the_log_in(app, page, back):
    headers = {"HX-Request": "true", "HX-Current-URL": page}
    answer = as_user(app, None, named(access.requires(Permission.OWN_THINGS)), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == f"/auth/login{back}"


def test_a_view_keeps_its_name():
    assert named(access.requires(Permission.OWN_THINGS)).__name__ == "view"
