"""The address book's pages, as a browser and as HTMX see them."""

import re

import pytest
from sqlalchemy import select

from app.clients import queries, service
from app.clients.models import Client, ClientStatus, Segment
from app.extensions import db
from tests import make

HTMX = {"HX-Request": "true"}
NAME = re.compile(r'href="/clients/(\d+)">([^<]*)</a>')


@pytest.fixture
def add(app, owner):
    """Adds a client of the owner, and gives its id."""

    def add(email="anna@example.test", tags=(), user=owner, **fields):
        with app.app_context():
            client = make.client(user, email, **fields)
            service.set_tags(user.id, client, tags)
            db.session.commit()
            return client.id

    return add


@pytest.fixture
def add_segment(app, owner):
    def add(name="VIPs", conditions=None):
        with app.app_context():
            segment = service.create_segment(owner, name, conditions or {"tag": "VIP"})
            db.session.commit()
            return segment.id

    return add


def the_only(app, kind):
    with app.app_context():
        thing = db.session.scalars(select(kind)).one()
        if kind is Client:
            assert thing.tags is not None  # loaded before it leaves the session
        db.session.expunge_all()
        return thing


def names_in(answer):
    assert answer.status_code == 200
    return [name for _id, name in NAME.findall(answer.text)]


TYPED = {
    "email": " Anna@Example.test ",
    "last_name": "Петрова",
    "first_name": "Анна",
    "patronymic": "Ивановна",
    "birth_year": "1985",
    "status": "unsubscribed",
    "tags": "VIP, new",
    "attributes": "city: Тверь\r\nsize: 42",
    "comment": "One\r\nTwo",
}


class TestList:
    def test_an_empty_address_book_says_what_to_do(self, owner_client):
        text = owner_client.get("/clients/").text
        assert "Your address book is empty" in text
        assert 'href="/clients/new"' in text
        assert 'type="search"' not in text

    def test_it_is_filtered_by_a_segment_of_ones_own(self, app, owner, owner_client, stranger, add):
        add("a@example.test", ["VIP"])
        add("b@example.test")
        with app.app_context():
            vips, foreign = (
                service.create_segment(db.session.merge(user), "VIPs", {"tag": "VIP"}) for user in (owner, stranger)
            )
            db.session.commit()
            own_id, foreign_id = vips.id, foreign.id
        text = owner_client.get(f"/clients/?segment={own_id}").text
        assert "a@" in text
        assert "b@" not in text
        assert f'<option value="{own_id}" selected>VIPs' in text
        assert "b@example.test" not in owner_client.get(f"/clients/export.csv?segment={own_id}").text
        for nobodys in (foreign_id, 10**30, "x", "-1", own_id + 100):
            assert owner_client.get(f"/clients/?segment={nobodys}").status_code == 404
            data = {"action": "delete", "all": "1", "sure": "1"}
            assert owner_client.post(f"/clients/bulk?segment={nobodys}", data=data).status_code == 404

    def test_clients_stand_in_order_of_their_names(self, owner_client, add, stranger):
        add("c@example.test", last_name="B", first_name="A")
        add("b@example.test", last_name="A", first_name="B")
        add("a@example.test", last_name="A", first_name="A")
        add("other@example.test", last_name="Other", user=stranger)
        assert names_in(owner_client.get("/clients/")) == ["A A", "A B", "B A"]

    def test_somebody_without_a_name_is_listed_by_address(self, owner_client, add):
        add("a@example.test")
        assert names_in(owner_client.get("/clients/")) == ["a@example.test"]

    def test_htmx_gets_the_rows_alone(self, owner_client, add):
        add(last_name="Petrova")
        answer = owner_client.get("/clients/?q=petr&status=&tag=", headers=HTMX)
        assert names_in(answer) == ["Petrova"]
        assert "<html" not in answer.text
        assert "HX-Request" in answer.headers["Vary"]
        assert answer.headers["HX-Replace-Url"] == "/clients/?q=petr"

    def test_searching_finds_cyrillic_in_any_case(self, owner_client, add):
        add("a@example.test", last_name="Семёнов")
        add("b@example.test", last_name="Другой")
        for q in ("семен", "СЕМЁН", "A@EXAMPLE"):
            assert names_in(owner_client.get("/clients/", query_string={"q": q})) == ["Семёнов"]

    @pytest.mark.parametrize("q", ["%", "_", "'", "\\", "\0[", "[", "x" * 5000, "<b>"])
    def test_no_search_is_a_fault(self, owner_client, add, q):
        add(last_name="Petrova")
        answer = owner_client.get("/clients/", query_string={"q": q, "tag": q, "status": q})
        assert answer.status_code == 200
        assert "Nobody found" in answer.text
        assert "<b>" not in answer.text

    def test_filters_stand_in_the_address(self, owner_client, add):
        add("a@example.test", ["VIP"], last_name="A")
        add("b@example.test", ["VIP", "new"], last_name="B", status=ClientStatus.BOUNCED)
        add("c@example.test", last_name="C")
        assert names_in(owner_client.get("/clients/?tag=VIP")) == ["A", "B"]
        assert names_in(owner_client.get("/clients/?tag=VIP&status=bounced")) == ["B"]
        assert names_in(owner_client.get("/clients/?status=nonsense")) == ["A", "B", "C"]
        assert '<option value="bounced" selected>' in owner_client.get("/clients/?status=bounced").text

    def test_paging_walks_every_row_once_in_order(self, app, owner, owner_client):
        with app.app_context():
            made = [
                make.client(owner, f"c{n}@example.test", last_name=f"Same {n % 3}", first_name="Name" if n % 2 else "")
                for n in range(200)
            ]
            expected = [c.id for c in sorted(made, key=lambda c: (c.last_name, c.first_name, c.id))]
            db.session.commit()
        url, seen = "/clients/?q=same", []
        while url:
            answer = owner_client.get(url, headers=HTMX)
            seen += [int(client_id) for client_id, _name in NAME.findall(answer.text)]
            more = re.search(r'data-pager.*?hx-get="([^"]+)"', answer.text, re.DOTALL)
            url = more and more[1].replace("&amp;", "&")
            assert "HX-Replace-Url" not in answer.headers or len(seen) == 50
        assert seen == expected

    def test_a_forged_cursor_is_not_found(self, owner_client, add):
        add()
        assert owner_client.get("/clients/?after=forged").status_code == 404

    def test_html_in_a_name_is_text(self, owner_client, add):
        client_id = add(
            "a@example.test",
            ["<i>tag</i>"],
            last_name="<script>alert(1)</script>",
            comment="<img src=x>",
            attributes={"city": "<b>Tver</b>"},
        )
        for url in ("/clients/", f"/clients/{client_id}", f"/clients/{client_id}/edit"):
            text = owner_client.get(url).text
            assert "&lt;script&gt;alert(1)" in text
            for raw in ("<script>alert", "<i>tag", "<img src=x", "<b>Tver"):
                assert raw not in text


class TestClient:
    def test_a_client_is_added_with_all_its_fields(self, app, owner_client):
        answer = owner_client.post("/clients/new", data=TYPED)
        client = the_only(app, Client)
        assert (answer.status_code, answer.location) == (303, f"/clients/{client.id}")
        assert (client.email, client.email_key) == ("Anna@example.test", "anna@example.test")
        assert (client.full_name, client.birth_year) == ("Петрова Анна Ивановна", 1985)
        assert (client.status, client.comment) == (ClientStatus.UNSUBSCRIBED, "One\nTwo")
        assert client.attributes == {"city": "Тверь", "size": "42"}
        assert [tag.name for tag in client.tags] == ["VIP", "new"]
        text = owner_client.get(answer.location).text
        for word in (
            "The client is added.",
            "Петрова Анна Ивановна",
            "unsubscribed",
            "1985",
            "Тверь",
            "One<br>Two",
            "VIP",
        ):
            assert word in text

    def test_htmx_is_sent_to_the_new_clients_page(self, app, owner_client):
        answer = owner_client.post("/clients/new", data={"email": "a@example.test"}, headers=HTMX)
        assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, f"/clients/{the_only(app, Client).id}")
        assert the_only(app, Client).status is ClientStatus.ACTIVE

    @pytest.mark.parametrize(
        ("invalid", "reason"),
        [
            ({"email": ""}, "Write an e-mail address."),
            ({"email": "nobody"}, "not a usable e-mail address"),
            ({"email": "a\0@example.test"}, "not a usable e-mail address"),
            ({"last_name": "x" * 101}, "at most 100"),
            ({"first_name": "An\0na"}, "control characters"),
            ({"birth_year": "1899"}, "Write a year from 1900"),
            ({"birth_year": "soon"}, "Write a year from 1900"),
            ({"tags": "x" * 51}, "at most 50"),
            ({"attributes": "city: Tver\nимя: Anna"}, "Line 2:"),
            ({"comment": "x" * 5001}, "at most 5000"),
            ({"status": "gone"}, "Not a valid choice"),
        ],
    )
    @pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "fragment"])
    def test_what_is_invalid_is_422_and_keeps_what_was_typed(self, app, owner_client, invalid, reason, headers):
        answer = owner_client.post("/clients/new", data=TYPED | invalid, headers=headers)
        assert answer.status_code == 422
        assert reason in answer.text
        for kept in ("Ивановна", "Two", "size: 42"):
            assert kept in answer.text or kept in TYPED.get(next(iter(invalid)), "")
        assert ("<html" in answer.text) is not bool(headers)
        assert 'name="csrf_token"' in answer.text or not app.config["WTF_CSRF_ENABLED"]
        with app.app_context():
            assert db.session.scalar(select(Client)) is None

    def test_an_address_that_is_there_already_is_told_at_its_field(self, owner_client, add):
        add("anna@example.test")
        answer = owner_client.post("/clients/new", data=TYPED, headers=HTMX)
        assert answer.status_code == 422
        assert re.search(r'id="email-error">This e-mail address is already in your address book\.<', answer.text)
        assert "Ивановна" in answer.text

    def test_somebody_elses_client_does_not_stand_in_the_way(self, owner_client, add, stranger):
        add("anna@example.test", user=stranger)
        assert owner_client.post("/clients/new", data=TYPED).status_code == 303

    def test_the_edit_form_shows_what_is_known_and_saves_what_is_changed(self, app, owner_client, add):
        client_id = add("a@example.test", ["VIP"], last_name="Old", birth_year=1970, attributes={"city": "Tver"})
        text = owner_client.get(f"/clients/{client_id}/edit").text
        for known in ('value="a@example.test"', 'value="Old"', 'value="1970"', 'value="VIP"', "city: Tver"):
            assert known in text
        data = {"email": "b@example.test", "last_name": "New", "tags": "vip, x", "status": "active"}
        assert owner_client.post(f"/clients/{client_id}/edit", data=data).status_code == 303
        client = the_only(app, Client)
        assert (client.email, client.last_name, client.birth_year, client.attributes) == (
            "b@example.test",
            "New",
            None,
            {},
        )
        assert [tag.name for tag in client.tags] == ["VIP", "x"]

    def test_a_client_can_not_take_anothers_address(self, app, owner_client, add):
        add("anna@example.test")
        client_id = add("other@example.test", last_name="Other")
        answer = owner_client.post(f"/clients/{client_id}/edit", data=TYPED)
        assert answer.status_code == 422
        assert "already in your address book" in answer.text
        with app.app_context():
            assert db.session.get(Client, client_id).last_name == "Other"

    def test_deleting_asks_first_and_then_does(self, app, owner_client, add):
        client_id = add(last_name="Petrova")
        page = owner_client.get(f"/clients/{client_id}").text
        assert 'data-confirm="Delete Petrova?"' in page
        assert owner_client.get(f"/clients/{client_id}/delete").status_code == 405
        answer = owner_client.post(f"/clients/{client_id}/delete")
        assert (answer.status_code, answer.location) == (303, "/clients/")
        assert "Petrova is deleted." in owner_client.get("/clients/").text
        with app.app_context():
            assert db.session.scalar(queries.existing()) is None


PAGES = ["/clients/", "/clients/new", "/clients/segments/", "/clients/segments/new"]
CLIENT_ROUTES = [("get", ""), ("get", "/edit"), ("post", "/edit"), ("post", "/delete")]
SEGMENT_ROUTES = [("get", "/edit"), ("post", "/edit"), ("post", "/preview"), ("post", "/delete")]


class TestAccess:
    @pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "fragment"])
    def test_a_stranger_finds_nothing_and_changes_nothing(self, app, stranger_client, add, add_segment, headers):
        client_id, segment_id = add(last_name="Petrova"), add_segment()
        data = {"email": "new@example.test", "name": "New", "domain": "example.test"}
        urls = [(method, f"/clients/{client_id}{rest}") for method, rest in CLIENT_ROUTES]
        urls += [(method, f"/clients/segments/{segment_id}{rest}") for method, rest in SEGMENT_ROUTES]
        for method, url in urls:
            answer = getattr(stranger_client, method)(
                url, headers=headers, **({"data": data} if method == "post" else {})
            )
            assert answer.status_code == 404, (method, url)
            assert "Petrova" not in answer.text
        assert the_only(app, Client).email == "anna@example.test"
        assert the_only(app, Segment).name == "VIPs"

    def test_a_stranger_sees_none_of_the_owners_words(self, stranger_client, add, add_segment):
        add(tags=["Secret"], last_name="Petrova")
        add_segment("Secret")
        for url in PAGES:
            text = stranger_client.get(url).text
            assert "Secret" not in text
            assert "Petrova" not in text
        typed = {"kind-0-0": "tag", "op-0-0": "is", "tag-0-0": "Secret"}
        assert "<strong>0</strong>" in stranger_client.post("/clients/segments/new/preview", data=typed).text

    @pytest.mark.parametrize("person", ["manager", "editor"])
    def test_the_staff_have_no_address_book(self, request, person):
        browser = request.getfixturevalue(f"{person}_client")
        for url in PAGES:
            assert browser.get(url).status_code == 403
        for url in ("/clients/new", "/clients/1/edit", "/clients/1/delete", "/clients/segments/1/delete"):
            assert browser.post(url, data={"email": "a@example.test"}).status_code == 403

    def test_an_administrator_has_one(self, admin_client):
        assert admin_client.get("/clients/").status_code == 200

    def test_who_is_not_logged_in_is_asked_to(self, client):
        for url in PAGES:
            answer = client.get(url)
            assert answer.status_code in {302, 303}
            assert "/auth/login" in answer.location

    def test_impossible_ids_are_not_found(self, owner_client):
        for number in (0, 2**31, 2**63, 10**30):
            for url in (f"/clients/{number}", f"/clients/segments/{number}/edit"):
                assert owner_client.get(url).status_code == 404
