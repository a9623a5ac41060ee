"""The pages of messages."""

import pytest
from sqlalchemy import select
from werkzeug.test import encode_multipart

from app import clock
from app.auth.models import User
from app.extensions import db
from app.messages.models import Message
from tests import make

HTMX = {"HX-Request": "true"}
LETTER = {"subject": "Hello", "html": "<p>Hello, <b>you</b>!</p>", "text": "", "is_shared": ""}
OWNERS_ACTIONS = ("edit", "delete", "share", "unshare")


@pytest.fixture
def make_message(app):
    """A function that commits a message and gives its id."""

    def make_one(person: User, **fields: object) -> int:
        with app.app_context():
            message = make.message(person, **fields)
            db.session.commit()
            return message.id

    return make_one


@pytest.fixture
def message(make_message, owner):
    return make_message(owner, subject="News", html="<p>Hello!</p>")


@pytest.fixture
def shared(make_message, stranger):
    return make_message(stranger, subject="For all", html="<p>Take me</p>", is_shared=True)


@pytest.fixture
def stored(app):
    """A function that reads a message anew."""

    def read(message_id: int) -> Message:
        with app.app_context():
            found = db.session.get_one(Message, message_id)
            db.session.expunge(found)
            return found

    return read


@pytest.fixture
def all_messages(app):
    def read() -> list[Message]:
        with app.app_context():
            found = list(db.session.scalars(select(Message).order_by(Message.id)))
            db.session.expunge_all()
            return found

    return read


# ── The list ──


def test_without_messages_it_offers_to_write_one(owner_client):
    page = owner_client.get("/messages/")
    assert page.status_code == 200
    assert "No messages yet" in page.text
    assert "/messages/new" in page.text


def test_it_lists_own_messages_newest_first(owner_client, owner, stranger, make_message):
    for subject in ("first", "second"):
        make_message(owner, subject=subject)
    make_message(owner, subject="gone", deleted_at=clock.now())
    make_message(stranger, subject="not mine", is_shared=True)
    text = owner_client.get("/messages/").text
    assert text.index("second") < text.index("first")
    assert "gone" not in text
    assert "not mine" not in text


def test_it_pages_through_many(owner_client, owner, make_message):
    for number in range(120):
        make_message(owner, subject=f"No. {number:03}.")
    url, seen = "/messages/", []
    while url:
        text = owner_client.get(url, headers=HTMX).text
        assert "<html" not in text
        seen += [int(part[:3]) for part in text.split('fw-medium breakable"')[1:] for part in [part.split("No. ")[1]]]
        url = (
            text.split("data-pager")[1].split('hx-get="')[1].split('"')[0].replace("&amp;", "&")
            if "data-pager" in text
            else ""
        )
    assert seen == list(range(119, -1, -1))


def test_a_forged_cursor_is_not_found(owner_client, message):
    for cursor in ("x", "WyJ4Il0", "W10", "Wy0xXQ"):
        assert owner_client.get(f"/messages/?after={cursor}").status_code == 404


def test_the_page_of_many_keeps_the_search_and_the_library(owner_client, stranger, make_message):
    for number in range(51):
        make_message(stranger, subject=f"Letter {number}", is_shared=True)
    text = owner_client.get("/messages/?shared=1&q=letter").text
    assert "/messages/?shared=1&amp;q=letter&amp;after=" in text


@pytest.mark.parametrize("words", ["РАССЫЛКА", "рассы", "летняя рассылка", "рассылка  летняя", "ё"])
def test_it_finds_subjects_in_any_case(owner_client, owner, make_message, words):
    make_message(owner, subject="Летняя Рассылка: всё")
    make_message(owner, subject="Winter [news] 100%")
    text = owner_client.get("/messages/", query_string={"q": words}, headers=HTMX).text
    assert "Летняя" in text
    assert "Winter" not in text


@pytest.mark.parametrize("words", ["[news]", "100%", "winter", " ", "W"])
def test_special_characters_are_looked_for_as_they_are(owner_client, owner, make_message, words):
    make_message(owner, subject="Winter [news] 100%")
    assert "Winter" in owner_client.get("/messages/", query_string={"q": words}).text


@pytest.mark.parametrize("words", [".*", "%", "_", "\\", "(", "[", "\0x", "x" * 5_000, "\ud800"])
def test_what_is_not_there_is_not_found(owner_client, message, words):
    page = owner_client.get("/messages/", query_string={"q": words.encode("utf-8", "surrogatepass")})
    assert page.status_code == 200
    assert "Nothing found" in page.text
    assert "News" not in page.text.split("<tbody")[1]


def test_the_library_shows_what_everybody_shares(owner_client, owner, stranger, make_message):
    make_message(owner, subject="Mine shared", is_shared=True)
    make_message(owner, subject="Mine alone")
    theirs = make_message(stranger, subject="Theirs shared", is_shared=True)
    make_message(stranger, subject="Theirs alone")
    make_message(stranger, subject="Theirs gone", is_shared=True, deleted_at=clock.now())
    text = owner_client.get("/messages/?shared=1").text
    assert "Mine shared" in text
    assert "Theirs shared" in text
    assert "alone" not in text
    assert "gone" not in text
    assert f"/messages/{theirs}/copy" in text
    for action in OWNERS_ACTIONS:
        assert f"/messages/{theirs}/{action}" not in text


def test_the_library_masks_addresses(owner_client, stranger, shared):
    text = owner_client.get("/messages/?shared=1").text
    assert "s…@golub.test" in text
    assert stranger.email not in text
    assert stranger.email not in owner_client.get(f"/messages/{shared}").text


def test_the_library_shows_names(app, owner_client, stranger, shared):
    with app.app_context():
        db.session.get_one(User, stranger.id).name = "Пётр <b>"
        db.session.commit()
    assert "Пётр &lt;b&gt;" in owner_client.get("/messages/?shared=1").text


def test_an_empty_library_says_so(owner_client):
    assert "The library is empty" in owner_client.get("/messages/?shared=1").text


# ── One message ──


def test_it_shows_a_message(owner_client, message):
    page = owner_client.get(f"/messages/{message}")
    assert page.status_code == 200
    assert "News" in page.text
    assert f'sandbox src="/messages/{message}/preview"' in page.text
    assert "Hello!" in page.text
    for action in ("edit", "delete", "share", "copy"):
        assert f"/messages/{message}/{action}" in page.text


def test_the_preview_can_do_nothing_but_be_looked_at(owner_client, owner, make_message):
    message = make_message(owner, subject="<b>", html="<p>Hi</p><script>alert(1)</script>")
    page = owner_client.get(f"/messages/{message}/preview")
    assert page.status_code == 200
    assert page.headers["Content-Security-Policy"] == (
        "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"
    )
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.mimetype == "text/html"
    assert "<p>Hi</p>" in page.text
    assert "script" not in page.text
    assert "<title>&lt;b&gt;</title>" in page.text


def test_a_letters_own_text_is_shown(owner_client, owner, make_message):
    message = make_message(owner, html="<p>HTML</p>", text="Written <by> hand")
    assert "Written &lt;by&gt; hand" in owner_client.get(f"/messages/{message}").text


def test_what_is_deleted_is_gone(owner_client, owner, make_message):
    message = make_message(owner, deleted_at=clock.now(), is_shared=True)
    for path in ("", "/preview", "/edit"):
        assert owner_client.get(f"/messages/{message}{path}").status_code == 404


@pytest.mark.parametrize("number", ["0", "2147483647", "2147483648", "99999999999999999999999", "-1", "x"])
def test_an_unknown_number_is_not_found(owner_client, number):
    assert owner_client.get(f"/messages/{number}").status_code == 404
    assert owner_client.post(f"/messages/{number}/delete").status_code == 404


# ── Writing ──


def test_it_shows_an_empty_form(owner_client):
    page = owner_client.get("/messages/new")
    assert page.status_code == 200
    for name in ("subject", "html", "text", "is_shared", "csrf_token"):
        assert f'name="{name}"' in page.text


def test_an_owner_writes_a_message(owner_client, owner, all_messages):
    answer = owner_client.post("/messages/new", data=LETTER | {"subject": " Привет ", "is_shared": "y"})
    (made,) = all_messages()
    assert answer.status_code == 303
    assert answer.location == f"/messages/{made.id}"
    assert (made.owner_id, made.subject, made.html) == (owner.id, "Привет", LETTER["html"])
    assert made.text == ""
    assert made.is_shared
    page = owner_client.get(answer.location).text
    assert "The message is saved." in page
    assert "left out" not in page


def test_htmx_is_sent_to_the_message(owner_client, all_messages):
    answer = owner_client.post("/messages/new", data=LETTER, headers=HTMX)
    assert answer.status_code == 204
    assert answer.headers["HX-Redirect"] == f"/messages/{all_messages()[0].id}"


def test_the_stored_html_is_clean_and_the_author_told_so(owner_client, all_messages):
    letter = '<p onclick="x()">Hi<script>x()</script></p><form>y</form>'
    answer = owner_client.post("/messages/new", data=LETTER | {"html": letter})
    assert all_messages()[0].html == "<p>Hi</p>y"
    page = owner_client.get(answer.location).text
    assert "We left out: &lt;form&gt;, &lt;script&gt;, onclick" in page


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subject", ""),
        ("subject", "x" * 201),
        ("subject", "one\r\nBcc: two@evil.test"),
        ("html", ""),
        ("html", "<script>kept as typed</script>"),
        ("html", "<div>" * 10_000),
        ("html", "<p>" + "щ" * 260_000),
        ("text", "щ" * 260_000),
    ],
)
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "fragment"])
def test_a_bad_message_comes_back_as_it_was_typed(owner_client, all_messages, field, value, headers):
    typed = {"subject": "My subject", "html": "<p>My letter</p>", "text": "My text", "is_shared": "y"} | {field: value}
    answer = owner_client.post("/messages/new", data=typed, headers=headers)
    assert answer.status_code == 422
    assert ("<html" in answer.text) == (not headers)
    assert 'aria-invalid="true"' in answer.text
    for name, kept in {"subject": "My subject", "html": "&lt;p&gt;My letter", "text": "My text"}.items():
        if name != field:
            assert kept in answer.text
    if value.startswith("<script>"):
        assert "&lt;script&gt;kept as typed" in answer.text
    assert "checked" in answer.text
    assert all_messages() == []


def test_half_a_megabyte_of_cyrillic_is_taken(owner_client, all_messages):
    letter = LETTER | {"html": "<p>" + "щ" * 249_990 + "</p>", "text": "щ" * 250_000}
    boundary, multipart = encode_multipart(letter)
    kind = f"multipart/form-data; boundary={boundary}"
    assert owner_client.post("/messages/new", data=multipart, content_type=kind).status_code == 303
    assert owner_client.post("/messages/new", data=letter).status_code == 303  # a browser's plain form
    assert [len(message.html) for message in all_messages()] == [249_997] * 2


def test_an_owner_edits_a_message(owner_client, message, stored):
    assert "&lt;p&gt;Hello!&lt;/p&gt;" in owner_client.get(f"/messages/{message}/edit").text
    before = stored(message).updated_at
    changed = {"subject": "Other", "html": "<p>Other</p>", "text": "Other\r\ntext"}
    answer = owner_client.post(f"/messages/{message}/edit", data=changed)
    assert answer.status_code == 303
    after = stored(message)
    assert (after.subject, after.html, after.text, after.is_shared) == ("Other", "<p>Other</p>", "Other\ntext", False)
    assert after.updated_at > before


def test_a_bad_edit_changes_nothing(owner_client, message, stored):
    answer = owner_client.post(f"/messages/{message}/edit", data=LETTER | {"subject": "", "html": "<p>Typed"})
    assert answer.status_code == 422
    assert "&lt;p&gt;Typed" in answer.text
    assert (stored(message).subject, stored(message).html) == ("News", "<p>Hello!</p>")


def test_an_owner_deletes_a_message(owner_client, message, stored):
    assert "Planned mailings keep using it." in owner_client.get(f"/messages/{message}").text
    answer = owner_client.post(f"/messages/{message}/delete")
    assert answer.status_code == 303
    assert answer.location == "/messages/"
    assert stored(message).deleted_at is not None
    assert stored(message).html == "<p>Hello!</p>"
    assert owner_client.post(f"/messages/{message}/delete").status_code == 404


def test_a_mailing_keeps_the_deleted_message(app, owner_client, owner, message):
    with app.app_context():
        mailing = make.mailing(owner, message_id=message)
        db.session.commit()
        mailing_id = mailing.id
    owner_client.post(f"/messages/{message}/delete")
    with app.app_context():
        assert db.session.get_one(type(mailing), mailing_id).message.subject == "News"


def test_an_owner_shares_and_takes_back(owner_client, message, stored):
    for _twice in range(2):
        assert owner_client.post(f"/messages/{message}/share").location == f"/messages/{message}"
        assert stored(message).is_shared
    assert owner_client.post(f"/messages/{message}/unshare").status_code == 303
    assert not stored(message).is_shared


def test_an_owner_duplicates_a_message(owner_client, owner, make_message, all_messages):
    original = make_message(owner, subject="News", text="Mine", is_shared=True)
    answer = owner_client.post(f"/messages/{original}/copy")
    _first, copy = all_messages()
    assert answer.location == f"/messages/{copy.id}/edit"
    assert (copy.subject, copy.text, copy.is_shared) == ("News", "Mine", False)


# ── Others' messages ──


def test_a_shared_message_can_be_read_and_copied(owner_client, owner, shared, all_messages):
    page = owner_client.get(f"/messages/{shared}")
    assert page.status_code == 200
    assert f"/messages/{shared}/copy" in page.text
    for action in OWNERS_ACTIONS:
        assert f"/messages/{shared}/{action}" not in page.text
    assert "Take me" in owner_client.get(f"/messages/{shared}/preview").text
    assert owner_client.post(f"/messages/{shared}/copy").status_code == 303
    assert all_messages()[-1].owner_id == owner.id


def test_a_shared_message_is_changed_by_its_author_and_administrators_alone(
    owner_client, admin_client, manager_client, shared, stored
):
    for client, status in ((owner_client, 404), (manager_client, 403)):
        assert client.get(f"/messages/{shared}/edit").status_code == status
        for action in OWNERS_ACTIONS:
            assert client.post(f"/messages/{shared}/{action}", data=LETTER).status_code == status
    assert admin_client.get(f"/messages/{shared}/edit").status_code == 200
    after = stored(shared)
    assert (after.subject, after.is_shared, after.deleted_at) == ("For all", True, None)


def test_a_strangers_message_is_not_there(stranger_client, message, all_messages):
    for path in ("", "/preview", "/edit"):
        assert stranger_client.get(f"/messages/{message}{path}").status_code == 404
    for action in (*OWNERS_ACTIONS, "copy"):
        answer = stranger_client.post(f"/messages/{message}/{action}", data=LETTER, headers=HTMX)
        assert answer.status_code == 404
        assert "Hello!" not in answer.text
    assert len(all_messages()) == 1


def test_an_administrator_may_edit_and_delete_what_is_others(admin_client, owner, message, stored):
    for path in ("", "/preview", "/edit"):
        assert admin_client.get(f"/messages/{message}{path}").status_code == 200
    assert admin_client.post(f"/messages/{message}/edit", data=LETTER).status_code == 303
    assert stored(message).owner_id == owner.id
    assert f"/messages/{message}" not in admin_client.get("/messages/").text, "it is in no list of theirs"
    assert admin_client.post(f"/messages/{message}/delete").status_code == 303
    assert stored(message).deleted_at


def test_an_administrator_owns_messages(admin_client, all_messages):
    assert admin_client.post("/messages/new", data=LETTER).status_code == 303
    assert admin_client.get(f"/messages/{all_messages()[0].id}/edit").status_code == 200


def test_a_manager_reads_what_is_shared(manager_client, message, shared):
    page = manager_client.get("/messages/?shared=1")
    assert page.status_code == 200
    assert "For all" in page.text
    assert "News" not in page.text
    assert "/messages/new" not in page.text
    assert f"/messages/{shared}/copy" not in page.text
    assert manager_client.get(f"/messages/{shared}").status_code == 200
    assert manager_client.get(f"/messages/{shared}/preview").status_code == 200
    assert manager_client.get(f"/messages/{message}").status_code == 404


def test_a_manager_has_the_library_instead_of_own_messages(manager_client, manager, make_message, shared):
    make_message(manager, subject="From before")
    page = manager_client.get("/messages/").text
    assert "For all" in page
    assert "From before" not in page


def test_a_manager_writes_nothing(manager_client, shared):
    assert manager_client.get("/messages/new").status_code == 403
    assert manager_client.post("/messages/new", data=LETTER).status_code == 403
    assert manager_client.get(f"/messages/{shared}/edit").status_code == 403
    for action in (*OWNERS_ACTIONS, "copy"):
        assert manager_client.post(f"/messages/{shared}/{action}", data=LETTER).status_code == 403


def test_an_editor_has_no_messages_at_all(editor_client, shared):
    for path in ("", "?shared=1", f"{shared}", f"{shared}/preview", "new", f"{shared}/edit"):
        assert editor_client.get(f"/messages/{path}").status_code == 403
    for path in ("new", *(f"{shared}/{action}" for action in (*OWNERS_ACTIONS, "copy"))):
        assert editor_client.post(f"/messages/{path}", data=LETTER).status_code == 403


def test_whoever_is_not_logged_in_is_sent_to_the_log_in_page(client, shared):
    for path in ("", f"{shared}", f"{shared}/preview", "new", f"{shared}/edit"):
        answer = client.get(f"/messages/{path}")
        assert answer.status_code in (302, 303)
        assert answer.location.startswith("/auth/login")
    assert client.post(f"/messages/{shared}/delete").status_code in (302, 303)


# ── Merge fields ──


@pytest.mark.parametrize("field", ["subject", "html", "text"])
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "fragment"])
def test_an_unknown_field_is_named_beside_the_text_it_stands_in(owner_client, all_messages, field, headers):
    answer = owner_client.post("/messages/new", data=LETTER | {field: "Dear {{ first_nme }}"}, headers=headers)
    assert answer.status_code == 422
    assert "Line 1, column 6: there is no field “first_nme”. Did you mean “first_name”?" in answer.text
    assert answer.text.count('aria-invalid="true"') == 1
    assert all_messages() == []


def test_the_form_lists_the_fields(owner_client):
    page = owner_client.get("/messages/new").text
    assert "<code>{{ first_name }}</code>" in page
    assert "<code>{{ unsubscribe_url }}</code>" in page


def test_a_message_is_shown_as_a_sample_client_would_get_it(owner_client, owner, make_message):
    message = make_message(
        owner,
        subject="For {{ first_name }}",
        html='<p>{{ full_name }}, {{ attributes.city | default: "your town" }}, {{ attributes.dog }}</p>'
        '<a href="{{ unsubscribe_url }}">x</a>',
        text="Dear {{ first_name }}",
    )
    preview = owner_client.get(f"/messages/{message}/preview").text
    assert "<title>For Anna</title>" in preview
    assert "<p>Petrova Anna Sergeyevna, your town, [dog]</p>" in preview
    assert '<a href="https://example.com/unsubscribe">x</a>' in preview
    page = owner_client.get(f"/messages/{message}").text
    assert "Dear Anna" in page
    assert "The fields are filled in for a sample client." in page


def test_a_message_without_fields_says_nothing_of_them(owner_client, message):
    assert "sample client" not in owner_client.get(f"/messages/{message}").text


def test_a_message_older_than_the_rules_is_still_shown(owner_client, owner, make_message):
    message = make_message(owner, subject="{{ x", html="<p>{{ first name }}</p>")
    assert "{{ first name }}" in owner_client.get(f"/messages/{message}/preview").text
