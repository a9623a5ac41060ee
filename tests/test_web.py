"""What every view shares, seen from a small blueprint of our own."""

import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Blueprint, Flask, Response, abort, flash, request
from flask.testing import FlaskClient
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import event

from app import create_app, web
from app.addresses import BadAddress
from app.auth.models import User
from app.config import Settings
from app.errors import GolubError, NotAllowed, NotFound, RuleBroken
from app.extensions import db
from tests import make

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HTMX = {"HX-Request": "true"}
BOOSTED = HTMX | {"HX-Boosted": "true"}
RESTORED = HTMX | {"HX-History-Restore-Request": "true"}
PAGE = """{% extends "base.html" %}
{% block title %}A room{% endblock %}
{% block content %}{% block rows %}<p id="rows">{{ what }}</p>{% endblock %}{% endblock %}
"""
ERRORS: dict[str, Exception] = {
    "rule": RuleBroken("It <b>runs</b> already."),
    "forbidden": NotAllowed("Not yours to do."),
    "missing": NotFound("Not here."),
    "address": BadAddress("No address."),
    "golub": GolubError("Something else."),
    "fault": RuntimeError("the password is hunter2"),
}
STATUS = {"rule": 409, "forbidden": 403, "missing": 404, "address": 400, "golub": 400}


def show() -> Response:
    if request.method == "POST":
        request.form.get("name")
    return web.render("room.html", block="rows", what=request.args.get("what", "furniture"))


def whole() -> Response:
    return web.render("room.html", what="everything")


def invalid() -> Response:
    return web.render("room.html", block="rows", status=422, what="mistakes")


def flashing() -> Response:
    flash("It is <done>.", "success")
    return web.render("room.html", block="rows", what="news")


def go() -> Response:
    flash("Gone.", "success")
    return web.redirect_to(request.args["to"])


def failing(name: str) -> Response:
    raise ERRORS[name]


def aborting(code: int) -> Response:
    abort(code)


def room(folder: Path) -> Blueprint:
    """A few views that do what views do."""
    (folder / "room.html").write_text(PAGE)
    blueprint = Blueprint("room", __name__, url_prefix="/room", template_folder=str(folder))
    blueprint.add_url_rule("/", view_func=show, methods=["GET", "POST"])
    blueprint.add_url_rule("/whole", view_func=whole)
    blueprint.add_url_rule("/invalid", view_func=invalid, methods=["POST"])
    blueprint.add_url_rule("/flash", view_func=flashing)
    blueprint.add_url_rule("/go", view_func=go, methods=["POST"])
    blueprint.add_url_rule("/raise/<name>", view_func=failing)
    blueprint.add_url_rule("/abort/<int:code>", view_func=aborting)
    blueprint.add_url_rule("/language", view_func=web.locale, endpoint="language")
    blueprint.add_url_rule("/zone", view_func=web.time_zone, endpoint="zone")
    return blueprint


@pytest.fixture(scope="module")
def build(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Flask]]:
    """Makes an application as in production: a fault becomes a page."""
    made = []

    def new(**changes: Any) -> Flask:
        handlers = logging.getLogger().handlers[:]
        app = create_app(settings.model_copy(update=changes))
        logging.getLogger().handlers = handlers  # pytest's among them
        app.config.update(WTF_CSRF_ENABLED=False, TESTING=False, PROPAGATE_EXCEPTIONS=False)
        app.register_blueprint(room(tmp_path_factory.mktemp("templates")))
        made.append(app)
        return app

    yield new
    for app in made:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture(scope="module")
def shared_house(migrated_app: Flask, build: Callable[..., Flask]) -> Flask:
    return build()


@pytest.fixture
def house(app: Flask, shared_house: Flask) -> Flask:
    """On the database of `app`, which is empty again after each test."""
    return shared_house


@pytest.fixture
def visitor(house: Flask) -> FlaskClient:
    return house.test_client()


def log_in(client: FlaskClient, user: User) -> None:
    make.session_of(client.application, client, user)


def is_page(answer: Any) -> bool:
    return answer.text.lstrip().startswith("<!doctype html>") and answer.text.rstrip().endswith("</html>")


# Pages and fragments


@pytest.mark.parametrize("headers", [{}, BOOSTED, RESTORED, BOOSTED | RESTORED, {"HX-Boosted": "true"}])
def test_a_browser_a_boosted_link_and_a_history_restore_get_the_page(
    visitor: FlaskClient, headers: dict[str, str]
) -> None:
    answer = visitor.get("/room/", headers=headers)
    assert is_page(answer)
    assert '<p id="rows">furniture</p>' in answer.text
    assert "HX-Request" in answer.vary


def test_htmx_gets_the_block_alone(visitor: FlaskClient) -> None:
    answer = visitor.get("/room/", headers=HTMX)
    assert answer.text.strip() == '<p id="rows">furniture</p>'
    assert "HX-Request" in answer.vary


def test_a_fragment_escapes_as_the_page_does(visitor: FlaskClient) -> None:
    for headers in ({}, HTMX):
        answer = visitor.get("/room/?what=<script>alert(1)</script>", headers=headers)
        assert "&lt;script&gt;alert(1)" in answer.text
        assert "<script>alert" not in answer.text


def test_a_view_without_a_block_is_a_page_for_htmx_too(visitor: FlaskClient) -> None:
    assert is_page(visitor.get("/room/whole", headers=HTMX))


def test_an_invalid_form_is_422_as_page_and_as_fragment(visitor: FlaskClient) -> None:
    page, fragment = visitor.post("/room/invalid"), visitor.post("/room/invalid", headers=HTMX)
    assert (page.status_code, fragment.status_code) == (422, 422)
    assert is_page(page)
    assert not is_page(fragment)


def test_a_flash_rides_along_with_a_fragment_once(visitor: FlaskClient) -> None:
    answer = visitor.get("/room/flash", headers=HTMX)
    assert "<hx-partial" in answer.text
    assert "It is &lt;done&gt;." in answer.text
    assert "It is" not in visitor.get("/room/").text


def test_a_flash_is_on_the_page_once(visitor: FlaskClient) -> None:
    answer = visitor.get("/room/flash")
    assert "<hx-partial" not in answer.text
    assert answer.text.count("It is &lt;done&gt;.") == 1
    assert "It is" not in visitor.get("/room/").text


# Redirects


def test_a_form_is_answered_with_a_303(visitor: FlaskClient) -> None:
    answer = visitor.post("/room/go", query_string={"to": "/room/"})
    assert (answer.status_code, answer.location) == (303, "/room/")
    assert "Gone." in visitor.get("/room/").text


@pytest.mark.parametrize("headers", [BOOSTED, RESTORED])
def test_what_replaces_the_whole_page_follows_a_303(visitor: FlaskClient, headers: dict[str, str]) -> None:
    assert visitor.post("/room/go", query_string={"to": "/room/"}, headers=headers).status_code == 303


def test_htmx_is_told_where_to_go(visitor: FlaskClient) -> None:
    answer = visitor.post("/room/go", query_string={"to": "/room/"}, headers=HTMX)
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/room/")
    assert answer.text == ""
    assert "Gone." in visitor.get("/room/").text


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_page_with_a_russian_search_can_be_gone_to(visitor: FlaskClient, headers: dict[str, str]) -> None:
    """A header holds Latin letters only."""
    answer = visitor.post("/room/go", query_string={"to": "/room/?q=Жук & co"}, headers=headers)
    location = answer.headers.get("HX-Redirect") or answer.location
    assert location.isascii()
    assert urlsplit(location).query == "q=%D0%96%D1%83%D0%BA%20&%20co"


@pytest.mark.parametrize("url", ["/", "/clients/", "/clients/?q=a b&x=1#top", "/clients/?next=//x", "/@x", "/a:b"])
def test_a_page_of_ours_may_be_next(url: str) -> None:
    assert web.local_path(url) == url


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "clients",
        "?x",
        "#x",
        ".",
        "//evil.test",
        "///evil.test",
        "////evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "\\/evil.test",
        "/\\/evil.test",
        "/\t/evil.test",
        "/\n/evil.test",
        "/\r/evil.test",
        "\t//evil.test",
        " //evil.test",
        "/\x00/evil.test",
        "\x00//evil.test",
        "http://evil.test",
        "https://evil.test/golub.test",
        "HTTPS://evil.test",
        "https:evil.test",
        "https:/evil.test",
        "http:\\\\evil.test",
        "//golub.test@evil.test",
        "//evil.test%2f@golub.test",
        "//[::1]",
        "//[",
        "javascript:alert(1)",
        "java\nscript:alert(1)",
        "JavaScript://%0aalert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "/x\r\nSet-Cookie: a=b",
        "／／evil.test",
        "ⅿ://evil.test",
    ],
)
def test_nobody_is_sent_elsewhere(url: str | None) -> None:
    assert web.local_path(url) is None


@given(st.text(st.sampled_from("/\\\t\n\r \x00:@.%#?ehx\u2028\xa0") | st.characters(), max_size=12))
@example("/\x85/evil.test")
@example("/\ud800")
def test_whatever_may_be_next_stays_on_this_host(text: str) -> None:
    path = web.local_path(text)
    if path is None:
        return
    seen_by_browser = path.strip().translate(dict.fromkeys(map(ord, "\t\r\n"))).replace("\\", "/")
    assert urlsplit(urljoin("https://golub.test/auth/login", seen_by_browser)).netloc == "golub.test"


# What goes wrong


@pytest.mark.parametrize("name", sorted(STATUS))
def test_what_the_domain_raises_becomes_a_page(visitor: FlaskClient, name: str) -> None:
    answer = visitor.get(f"/room/raise/{name}")
    assert answer.status_code == STATUS[name]
    assert is_page(answer)
    assert "HX-Request" in answer.vary
    assert "<b>runs" not in answer.text


@pytest.mark.parametrize("name", sorted(STATUS))
def test_what_the_domain_raises_becomes_a_flash_that_moves_nothing(visitor: FlaskClient, name: str) -> None:
    answer = visitor.get(f"/room/raise/{name}", headers=HTMX)
    assert answer.status_code == STATUS[name]
    assert answer.headers["HX-Reswap"] == "none"
    assert answer.text.lstrip().startswith("<hx-partial")
    assert "HX-Request" in answer.vary
    assert "already" not in visitor.get("/room/").text


def test_the_sentence_of_an_error_is_escaped(visitor: FlaskClient) -> None:
    for headers in ({}, HTMX):
        assert "It &lt;b&gt;runs&lt;/b&gt; already." in visitor.get("/room/raise/rule", headers=headers).text


@pytest.mark.parametrize("headers", [BOOSTED, RESTORED])
def test_an_error_of_a_boosted_link_is_a_page(visitor: FlaskClient, headers: dict[str, str]) -> None:
    answer = visitor.get("/room/raise/rule", headers=headers)
    assert is_page(answer)
    assert "HX-Reswap" not in answer.headers


@pytest.mark.parametrize("code", [400, 403, 404, 405, 409, 410, 413, 415, 418, 422, 429, 500, 503])
def test_every_status_has_a_page_and_a_flash(visitor: FlaskClient, code: int) -> None:
    page = visitor.get(f"/room/abort/{code}")
    assert page.status_code == code
    assert is_page(page)
    assert f">{code}<" in page.text
    flashed = visitor.get(f"/room/abort/{code}", headers=HTMX)
    assert flashed.status_code == code
    assert flashed.headers["HX-Reswap"] == "none"
    assert "<hx-partial" in flashed.text


def test_an_unknown_address_is_a_404_page(visitor: FlaskClient) -> None:
    answer = visitor.get("/nowhere/<script>")
    assert answer.status_code == 404
    assert is_page(answer)
    assert "<script>" not in answer.text.replace('<script src="', "")


@pytest.mark.parametrize("number", [2**31, 2**63 - 1, 2**63, 10**30])
def test_a_number_that_no_column_holds_is_a_404(house: Flask, owner: User, number: int) -> None:
    client = house.test_client()
    log_in(client, owner)
    asked = 0
    for rule in house.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and "<int" in rule.rule and rule.endpoint != "room.aborting":
            path = re.sub(r"<int[^>]*>", str(number), rule.rule)
            assert client.get(path).status_code == 404, path
            asked += 1
    assert asked > 2


def test_a_wrong_method_is_a_405_page_that_says_which_are_right(visitor: FlaskClient) -> None:
    answer = visitor.post("/room/whole")
    assert answer.status_code == 405
    assert is_page(answer)
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_too_much_at_once_is_a_413_page(house: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(house.config, "MAX_CONTENT_LENGTH", 1000)
    answer = house.test_client().post("/room/", data={"name": "x" * 2000})
    assert answer.status_code == 413
    assert is_page(answer)


def test_a_missing_slash_is_mended(visitor: FlaskClient) -> None:
    answer = visitor.get("/room")
    assert answer.status_code == 308
    assert answer.location.endswith("/room/")


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_fault_is_admitted_and_its_details_go_to_the_log(
    visitor: FlaskClient, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = visitor.get("/room/raise/fault", headers=headers)
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.text
    for detail in ("hunter2", "RuntimeError", "Traceback", "failing"):
        assert detail not in answer.text
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info
    assert str(record.exc_info[1]) == "the password is hunter2"


def test_a_fault_of_a_test_is_raised(house: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(house.config, "TESTING", True)
    monkeypatch.setitem(house.config, "PROPAGATE_EXCEPTIONS", None)
    with pytest.raises(RuntimeError):
        house.test_client().get("/room/raise/fault")


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_with_the_database_away_somebody_logged_in_gets_a_page_that_admits_it(
    build: Callable[..., Flask], owner: User, tmp_path: Path, headers: dict[str, str]
) -> None:
    broken = build(database_url=f"sqlite:///{tmp_path}/no/such/folder/golub.db")
    client = broken.test_client()
    with client.session_transaction() as session:
        session["_user_id"] = "the key of a log-in"
    answer = client.get("/clients/", headers=headers)
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.text
    assert "no/such/folder" not in answer.text
    assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY


# Headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/room/", 200),
        ("HEAD", "/room/", 200),
        ("GET", "/healthz", 200),
        ("GET", "/static/css/golub.css", 200),
        ("GET", "/static/nothing.css", 404),
        ("GET", "/static/../config.py", 404),
        ("GET", "/room", 308),
        ("GET", "/nowhere", 404),
        ("DELETE", "/room/", 405),
        ("POST", "/room/go?to=/", 303),
        ("GET", "/room/raise/rule", 409),
        ("GET", "/room/raise/fault", 500),
        ("GET", "/room/abort/503", 503),
    ],
)
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_every_answer_has_the_security_headers(
    visitor: FlaskClient, method: str, path: str, status: int, headers: dict[str, str]
) -> None:
    with visitor.open(path, method=method, headers=headers) as answer:
        pass  # a static file stays open otherwise
    assert answer.status_code == status or (status == 303 and answer.status_code == 204)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert "script-src" not in policy
    assert "style-src" not in policy
    assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] == "'self'"


@pytest.mark.parametrize(("base_url", "told"), [("https://golub.test", True), ("http://golub.test", False)])
def test_browsers_are_told_to_stay_with_tls_where_there_is_tls(
    app: Flask, build: Callable[..., Flask], base_url: str, told: bool
) -> None:
    headers = build(base_url=base_url).test_client().get("/healthz").headers
    assert headers.get("Strict-Transport-Security") == ("max-age=31536000" if told else None)
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Permissions-Policy"] == "camera=(), geolocation=(), microphone=()"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("golub.test", 200),
        ("golub.test:8000", 200),
        ("probe.test", 200),
        ("localhost", 400),
        ("127.0.0.1", 400),
        ("evil.example", 400),
        ("golub.test.evil.example", 400),
        ("evil.example\\@golub.test", 400),
        ("", 400),
    ],
)
def test_only_our_own_names_are_answered_to(
    app: Flask, build: Callable[..., Flask], settings: Settings, host: str, status: int
) -> None:
    production = {"app_env": "production", "trusted_hosts": "probe.test, 10.0.0.5"}
    client = build(**production).test_client()
    answer = client.get("/auth/login", headers={"Host": host})
    assert answer.status_code == status
    assert "evil" not in answer.text


def test_a_proxys_headers_mean_nothing_unless_there_is_one(app: Flask, build: Callable[..., Flask]) -> None:
    claimed = {
        "X-Forwarded-For": "203.0.113.9, 198.51.100.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
    }
    for proxies, address, scheme in (
        (0, "127.0.0.1", "http"),
        (1, "198.51.100.7", "https"),
        (2, "203.0.113.9", "http"),
    ):
        made = build(trusted_proxies=proxies)
        seen: list[tuple[str | None, str, str]] = []
        made.before_request(lambda seen=seen: seen.append((request.remote_addr, request.scheme, request.host)))
        made.test_client().get("/healthz", headers=claimed)
        assert seen == [(address, scheme, "localhost")]


def test_what_one_person_sees_is_kept_by_nobody(visitor: FlaskClient, owner: User) -> None:
    log_in(visitor, owner)
    assert visitor.get("/room/").headers["Cache-Control"] == "private, no-store"
    assert visitor.get("/room/raise/rule").headers["Cache-Control"] == "private, no-store"


def test_static_files_may_be_kept_and_ask_the_database_nothing(house: Flask, visitor: FlaskClient, owner: User) -> None:
    log_in(visitor, owner)
    asked = []
    with house.app_context():
        engine = db.engine

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    with visitor.get("/static/css/golub.css") as answer:
        assert answer.status_code == 200
        assert "no-store" not in answer.headers["Cache-Control"]
        kept = {"If-None-Match": answer.headers["ETag"]}
    with visitor.get("/static/css/golub.css", headers=kept) as answer:
        assert answer.status_code == 304
    event.remove(engine, "before_cursor_execute", note)
    assert asked == []


def test_the_session_cookie_is_for_the_server_alone(visitor: FlaskClient) -> None:
    answer = visitor.post("/room/go", query_string={"to": "/"})
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


# Languages and zones


def language_of(client: FlaskClient, header: str | None = None) -> str:
    return client.get("/room/language", headers={"Accept-Language": header} if header else {}).text


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("en-GB,ru;q=0.5", "en"),
        ("de-DE,de;q=0.9", "en"),
        ("de,ru;q=0.3", "ru"),
        ("ru;q=0", "en"),
        ("*", "en"),
        ("\x01nonsense,,;;q=x", "en"),
        ("ru;q=9999999999999999", "en"),
        ("a" * 5000, "en"),
    ],
)
def test_the_browser_chooses_a_language_first(visitor: FlaskClient, header: str | None, language: str) -> None:
    assert language_of(visitor, header) == language


def test_the_sessions_choice_beats_the_browser(visitor: FlaskClient) -> None:
    with visitor.session_transaction() as session:
        session["locale"] = "ru"
    assert language_of(visitor, "en") == "ru"


@pytest.mark.parametrize("choice", ["xx", "../ru", "", None, 7])
def test_a_language_that_is_not_ours_is_no_choice(visitor: FlaskClient, choice: Any) -> None:
    with visitor.session_transaction() as session:
        session["locale"] = choice
    assert language_of(visitor, "ru") == "ru"


def test_the_users_choice_beats_all(visitor: FlaskClient, house: Flask, owner: User) -> None:
    with house.app_context():
        db.session.get_one(User, owner.id).locale = "ru"
        db.session.commit()
    log_in(visitor, owner)
    with visitor.session_transaction() as session:
        session["locale"] = "en"
    assert language_of(visitor, "en") == "ru"


def test_a_page_says_its_language(visitor: FlaskClient) -> None:
    assert '<html lang="ru">' in visitor.get("/room/", headers={"Accept-Language": "ru"}).text
    assert '<html lang="ru">' in visitor.get("/nowhere", headers={"Accept-Language": "ru"}).text


def test_outside_of_a_request_it_is_english(house: Flask) -> None:
    with house.app_context():
        assert web.locale() == "en"
        assert web.time_zone() == "UTC"
        assert web.local_time(datetime(2026, 3, 1, 12, tzinfo=UTC), style="HH:mm") == "12:00"


def test_times_are_in_the_readers_zone(visitor: FlaskClient, house: Flask, owner: User) -> None:
    assert visitor.get("/room/zone").text == "UTC"
    with house.app_context():
        db.session.get_one(User, owner.id).timezone = "Asia/Tokyo"
        db.session.commit()
    log_in(visitor, owner)
    assert visitor.get("/room/zone").text == "Asia/Tokyo"


def test_a_time_is_shown_in_a_zone_and_a_language(house: Flask) -> None:
    moment = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    with house.test_request_context(headers={"Accept-Language": "ru"}):
        assert web.local_time(moment, "Europe/Moscow", "d MMMM HH:mm") == "2 июля 01:30"
    with house.test_request_context():
        assert web.local_time(moment, "Europe/Berlin", "d MMMM HH:mm") == "2 July 00:30"
        assert web.local_time(moment, "America/New_York", "yyyy-MM-dd HH:mm") == "2026-07-01 18:30"
