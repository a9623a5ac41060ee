"""Many clients at once, a row changed on the spot, and deletions that are taken back."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import event, func, insert, select

from app import clock, undo
from app.clients import bulk, queries, segments, service
from app.clients.models import Client, ClientStatus, KnownClients, Segment, client_tag
from app.clients.staging import Loaded
from app.errors import RuleBroken
from app.extensions import db
from app.mailings.models import Audience, Mailing, mailing_client
from tests import make

HTMX = {"HX-Request": "true"}
AT = re.compile(r'name="at" value="([^"]+)"')


@pytest.fixture
def three(app, owner):
    """The ids of Anna, Boris and Vera; the first two are regulars."""
    with app.app_context():
        made = [
            make.client(owner, f"{name.lower()}@example.test", first_name=name) for name in ("Anna", "Boris", "Vera")
        ]
        for client in made[:2]:
            service.set_tags(owner.id, client, ["regular"])
        db.session.commit()
        return [client.id for client in made]


def names(browser, query=""):
    return re.findall(r'data-row-link href="/clients/\d+">([^<]*)<', browser.get(f"/clients/{query}").text)


def delete(browser, ids, url="/clients/bulk", **headers):
    return browser.post(url, data={"action": "delete", "ids": ids, "sure": "1"}, headers=headers)


def take_back(browser, page="/clients/", url="/clients/undo"):
    """Press the button in the toast."""
    return browser.post(url, data={"at": AT.search(browser.get(page).text)[1]}, follow_redirects=True).text


class TestSorting:
    def test_each_heading_sorts_and_turns_round(self, app, owner, owner_client):
        with app.app_context():
            for last_name, email in (("B", "c@example.test"), ("A", "b@example.test"), ("C", "a@example.test")):
                make.client(owner, email, last_name=last_name)
            db.session.commit()
        orders = {"": "ABC", "name": "ABC", "-name": "CBA", "email": "CAB", "-email": "BAC", "-added": "CAB"}
        orders |= {"added": "BAC", "nonsense": "ABC"}
        for sort, expected in orders.items():
            assert "".join(names(owner_client, f"?sort={sort}")) == expected, sort
        page = owner_client.get("/clients/?sort=-email&status=active").text
        assert 'aria-sort="descending"' in page
        assert page.count("aria-sort") == 1
        assert 'id="sort-email" href="/clients/?status=active"' in page, "the third click takes the usual order"
        assert 'id="sort-name" href="/clients/?status=active&amp;sort=name"' in page

    @pytest.mark.parametrize("sort", ["name", "-name", "email", "-email", "added", "-added"])
    def test_paging_under_every_order_walks_all_once(self, app, owner, owner_client, sort):
        with app.app_context():
            make.clients(owner, 120)
            db.session.commit()
        url, seen = f"/clients/?sort={sort}&q=client", []
        while url:
            text = owner_client.get(url, headers=HTMX).text
            seen += re.findall(r'data-row="(\d+)"', text)
            more = re.search(r'data-pager.*?hx-get="([^"]+)"', text, re.DOTALL)
            url = more and more[1].replace("&amp;", "&")
        assert len(seen) == len(set(seen)) == 120

    def test_the_list_says_when_a_client_last_got_a_letter(self, app, owner, owner_client, three):
        with app.app_context():
            mailing = make.mailing(owner)
            for day, status in ((1, "sent"), (2, "sent"), (3, "failed")):
                run = make.run(mailing, scheduled_for=clock.now() - timedelta(days=day))
                from app.delivery.models import Delivery, DeliveryStatus  # noqa: PLC0415

                at = clock.now().replace(year=2020, month=5, day=day)
                given = {"run_id": run.id, "client_id": three[0], "email": "anna@example.test"}
                db.session.add(Delivery(**given, status=DeliveryStatus(status), finished_at=at))
            db.session.commit()
        page = owner_client.get("/clients/").text
        assert page.count("2020-05-02") == 1
        assert "2020-05-03" not in page


class TestMany:
    def test_a_tag_is_put_on_and_taken_off(self, owner_client, three):
        data = {"action": "add_tag", "tag_name": "Regular", "ids": three}
        assert owner_client.post("/clients/bulk", data=data).location == "/clients/"
        assert "1 client has got the tag “Regular”." in owner_client.get("/clients/").text
        assert names(owner_client, "?tag=regular") == ["Anna", "Boris", "Vera"]
        data = {"action": "remove_tag", "tag_name": "REGULAR", "ids": three[:2]}
        owner_client.post("/clients/bulk", data=data)
        assert names(owner_client, "?tag=regular") == ["Vera"]

    @pytest.mark.usefixtures("three")
    def test_all_that_match_means_the_filters_of_the_address(self, owner_client):
        owner_client.post("/clients/bulk?tag=regular", data={"action": "unsubscribed", "all": "1"})
        assert names(owner_client, "?status=unsubscribed") == ["Anna", "Boris"]
        answer = owner_client.post("/clients/bulk?tag=regular", data={"action": "active", "all": "1"}, headers=HTMX)
        assert (answer.headers["HX-Retarget"], answer.headers["HX-Replace-Url"]) == ("#list", "/clients/?tag=regular")
        assert "Vera" not in answer.text
        assert names(owner_client, "?status=active") == ["Anna", "Boris", "Vera"]

    def test_whoever_complained_is_not_made_active_with_the_others(self, app, owner_client, three):
        with app.app_context():
            db.session.get(Client, three[0]).status = ClientStatus.COMPLAINED
            db.session.commit()
        owner_client.post("/clients/bulk", data={"action": "active", "ids": three})
        assert names(owner_client, "?status=complained") == ["Anna"]

    def test_nothing_of_others_is_changed(self, stranger_client, owner_client, three):
        for action in ("delete", "unsubscribed", "add_tag"):
            stranger_client.post("/clients/bulk", data={"action": action, "ids": three, "tag_name": "x", "sure": "1"})
            stranger_client.post("/clients/bulk", data={"action": action, "all": "1", "tag_name": "x", "sure": "1"})
        assert names(owner_client, "?status=active") == ["Anna", "Boris", "Vera"]

    @pytest.mark.usefixtures("three")
    @pytest.mark.parametrize(
        ("data", "status"),
        [
            ({"action": "delete"}, 409),
            ({"action": "delete", "ids": "x"}, 409),
            ({"action": "delete", "ids": str(2**70)}, 409),
            ({"action": "fly", "ids": "1"}, 400),
            ({"ids": "1"}, 400),
            ({"action": "add_tag", "ids": "1", "tag_name": ""}, 409),
            ({"action": "add_tag", "ids": "1", "tag_name": "a, b"}, 409),
            ({"action": "bounced", "ids": "1"}, 400),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, owner_client, data, status):
        assert owner_client.post("/clients/bulk", data=data).status_code == status

    @pytest.mark.usefixtures("three")
    def test_the_list_counts_what_matches_up_to_a_limit(self, monkeypatch, owner_client):
        assert "All 3 that match" in owner_client.get("/clients/?count=1", headers=HTMX).text
        assert "All 2 that match" in owner_client.get("/clients/?count=1&tag=regular", headers=HTMX).text
        monkeypatch.setattr("app.paging.COUNTED", 2)
        monkeypatch.setattr("app.clients.views.COUNTED", 2)
        assert "All 2+ that match" in owner_client.get("/clients/?count=1", headers=HTMX).text

    def test_twenty_thousand_take_a_handful_of_statements(self, app, owner):
        with app.app_context():
            rows = [
                {
                    "owner_id": owner.id,
                    "email": f"{n}@example.test",
                    "email_key": f"{n}@example.test",
                    "last_name": "",
                    "first_name": "",
                    "patronymic": "",
                    "comment": "",
                    "attributes": {},
                    "status": ClientStatus.ACTIVE,
                    "added_at": clock.now(),
                }
                for n in range(20_000)
            ]
            db.session.execute(insert(Client), rows)
            which, statements = queries.owned_by(owner), []
            count = (db.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
            event.listen(*count)
            assert bulk.add_tag(owner.id, which, "all") == 20_000
            assert bulk.set_status(which, ClientStatus.UNSUBSCRIBED) == 20_000
            deleted = service.delete_clients(owner, which)
            assert (deleted.count, service.restore_clients(owner, deleted.moment)) == (20_000, (20_000, 0))
            event.remove(*count)
            assert 4 <= len(statements) < 40


class TestDeleting:
    def test_it_asks_first_and_says_what_goes_with_it(self, app, owner, owner_client, three):
        with app.app_context():
            mailing = make.mailing(owner, audience=Audience.CHOSEN)
            db.session.execute(insert(mailing_client), {"mailing_id": mailing.id, "client_id": three[0]})
            db.session.commit()
        data = {"action": "delete", "ids": three[:2]}
        for headers in ({}, HTMX):
            page = owner_client.post("/clients/bulk?q=a", data=data, headers=headers).text
            assert "Delete 2 clients?" in page
            assert "1 mailing that goes to chosen clients loses some of them." in page
            assert page.count('name="ids"') == 2
            assert 'action="/clients/bulk?q=a"' in page
        assert names(owner_client) == ["Anna", "Boris", "Vera"]

    def test_undoing_brings_everything_back(self, app, owner, owner_client, three):
        with app.app_context():
            mailing = make.mailing(owner, audience=Audience.CHOSEN)
            db.session.execute(insert(mailing_client), {"mailing_id": mailing.id, "client_id": three[0]})
            db.session.commit()
            mailing_id, before = mailing.id, everything()
        answer = delete(owner_client, three[:2])
        assert (answer.status_code, answer.location) == (303, "/clients/")
        assert names(owner_client, "?q=a") == ["Vera"]
        with app.app_context():
            assert db.session.get(Mailing, mailing_id).chosen_clients == []
        delete(owner_client, three[2:])
        assert "1 client is back." in take_back(owner_client)
        assert names(owner_client) == ["Vera"]
        with app.app_context():
            moment = db.session.scalars(select(Client.deleted_at).where(Client.deleted_at.is_not(None))).first()
        owner_client.post("/clients/undo", data={"at": moment.isoformat()})
        with app.app_context():
            assert everything() == before
            assert [client.id for client in db.session.get(Mailing, mailing_id).chosen_clients] == three[:1]

    def test_htmx_takes_the_rows_out_and_stays_where_it_is(self, owner_client, three):
        answer = delete(owner_client, three[:1], **HTMX)
        assert answer.headers["HX-Reswap"] == "none"
        assert answer.headers["HX-Trigger"] == f'{{"golub:gone": {{"target": "body", "ids": [{three[0]}]}}}}'
        assert "1 client is deleted." in answer.text
        assert 'data-auto-hide="10"' in answer.text

    def test_nobody_takes_back_what_others_deleted(self, owner_client, stranger_client, three):
        delete(owner_client, three)
        at = AT.search(owner_client.get("/clients/").text)[1]
        stranger_client.post("/clients/undo", data={"at": at})
        assert names(owner_client) == []

    @pytest.mark.parametrize("at", ["", "now", "2026-01-01", "2026-01-01T00:00:00", "9999-12-31T23:59:59-23:59", "\0"])
    def test_what_is_no_deletion_is_refused(self, owner_client, at):
        assert owner_client.post("/clients/undo", data={"at": at}).status_code == 409

    @pytest.mark.usefixtures("three")
    def test_after_a_while_it_is_too_late(self, app, owner, monkeypatch):
        with app.app_context():
            deleted = service.delete_clients(owner, queries.owned_by(owner))
            later = clock.now() + undo.UNDO_FOR
            monkeypatch.setattr(clock, "now", lambda: later)
            with pytest.raises(RuleBroken):
                undo.moment_of(deleted.moment.isoformat())
            assert undo.for_good(later) < deleted.moment  # a request that came in time may not be over

    def test_an_address_that_was_added_anew_stays_the_new_clients(self, app, owner, owner_client, three):
        delete(owner_client, three[:2])
        with app.app_context():
            make.client(owner, "anna@example.test", first_name="New Anna")
            db.session.commit()
        text = take_back(owner_client)
        assert "1 client is back." in text
        assert "1 address has been added anew meanwhile" in text
        assert names(owner_client) == ["Boris", "New Anna", "Vera"]

    def test_somebody_deleted_is_nowhere(self, app, owner, owner_client, manager_client, three):
        with app.app_context():
            db.session.add(Segment(owner_id=owner.id, name="All", conditions={"domain": "example.test"}))
            db.session.commit()
        delete(owner_client, three)
        owner_client.get("/clients/")  # the toast names nobody
        for url in ("/clients/", "/clients/?q=a", "/clients/export.csv", "/messages/clients", "/mailings/new"):
            assert "anna@" not in owner_client.get(url).text, url
        assert "Anna" not in manager_client.get("/manager/clients").text
        for url in (f"/clients/{three[0]}", f"/clients/{three[0]}/edit"):
            assert owner_client.get(url).status_code == 404
        assert manager_client.get(f"/clients/{three[0]}").status_code == 404
        assert "Your address book is empty" in owner_client.get("/clients/").text
        with app.app_context():
            segment = db.session.scalars(select(Segment)).one()
            assert segments.count(owner, segment.conditions).active == 0
            for audience in (queries.active_clients(owner.id), segments.audience(segment)):
                assert db.session.scalars(audience).all() == []
            assert db.session.scalars(queries.tag_names_in_use(owner)).all() == []

    @pytest.mark.parametrize("known", list(KnownClients))
    @pytest.mark.usefixtures("three")
    def test_an_import_adds_anew_whoever_is_deleted(self, app, owner, known):
        with app.app_context():
            service.delete_clients(owner, queries.owned_by(owner))
            row = ("anna@example.test", "anna@example.test", "Imported", "", "", None, "", "{}", 0)
            from app.clients.columns import Taken  # noqa: PLC0415

            loaded = Loaded(owner.id, [Taken(*row)], [], ["last_name"])
            assert loaded.take(known, clock.now()) == (1, 0)
            assert [client.last_name for client in db.session.scalars(queries.owned_by(owner))] == ["Imported"]
            db.session.commit()

    @pytest.mark.usefixtures("three")
    def test_the_last_of_them_is_gone_for_good_later(self, app, owner):
        with app.app_context():
            service.delete_clients(owner, queries.owned_by(owner))
            assert service.bury_clients(undo.for_good(clock.now()), 10) == 0
            assert service.bury_clients(clock.now(), 2) == 2
            assert service.bury_clients(clock.now(), 2) == 1
            assert db.session.scalar(select(func.count()).select_from(client_tag)) == 0
            db.session.commit()


def everything():
    """All that stands in the tables of clients."""
    return [db.session.execute(select(table).order_by(*table.c)).all() for table in (Client.__table__, client_tag)]


TYPED = {"last_name": "Petrova", "first_name": "Anna", "patronymic": "", "email": "anna@example.test"}
TYPED |= {"tags": "regular, new", "status": "unsubscribed"}


class TestRow:
    def test_a_row_is_changed_on_the_spot_and_nothing_else_of_the_client(self, app, owner_client, three):
        with app.app_context():
            client = db.session.get(Client, three[0])
            client.comment, client.birth_year, client.attributes = "Dear", 1980, {"city": "Tver"}
            db.session.commit()
        url = f"/clients/{three[0]}/row"
        form = owner_client.get(f"{url}?edit=1", headers=HTMX).text
        assert 'value="anna@example.test"' in form
        answer = owner_client.post(url, data=TYPED, headers=HTMX)
        assert answer.status_code == 200
        assert "Petrova Anna" in answer.text
        assert "data-edited" not in answer.text
        with app.app_context():
            client = db.session.get(Client, three[0])
            assert (client.comment, client.birth_year, client.attributes) == ("Dear", 1980, {"city": "Tver"})
            assert (client.status, [tag.name for tag in client.tags]) == (ClientStatus.UNSUBSCRIBED, ["new", "regular"])

    @pytest.mark.parametrize(
        ("typed", "reason"),
        [
            ({"email": "nobody"}, "not a usable e-mail address"),
            ({"email": "boris@example.test"}, "already in your address book"),
            ({"first_name": "x" * 101}, "at most 100"),
        ],
    )
    def test_what_is_wrong_is_told_at_its_field(self, owner_client, three, typed, reason):
        answer = owner_client.post(f"/clients/{three[0]}/row", data=TYPED | typed, headers=HTMX)
        assert answer.status_code == 422
        [name] = typed
        assert re.search(rf'id="{name}-{three[0]}-error">[^<]*{reason}', answer.text)
        assert 'value="Petrova"' in answer.text

    def test_without_scripts_it_is_the_page(self, owner_client, three):
        assert owner_client.get(f"/clients/{three[0]}/row?edit=1").location == f"/clients/{three[0]}/edit"


class TestSegments:
    def test_many_are_deleted_and_come_back(self, app, owner, owner_client):
        with app.app_context():
            ids = [service.create_segment(owner, name, {"tag": "x"}).id for name in ("One", "Two", "Three")]
            db.session.commit()
        page = owner_client.get("/clients/segments/?sort=-name&q=t").text
        assert re.findall(r'data-row-link href="[^"]+">(\w+)<', page) == ["Two", "Three"]
        delete(owner_client, ids[:2], "/clients/segments/bulk")
        page = owner_client.get("/clients/segments/").text
        assert "2 segments are deleted." in page
        assert "data-row-link" in page
        at = AT.search(page)[1]
        text = owner_client.post("/clients/segments/undo", data={"at": at}, follow_redirects=True).text
        assert "2 segments are back." in text
        assert text.count("data-row-link") == 3

    def test_one_that_a_mailing_uses_keeps_all_of_them(self, app, owner, owner_client):
        with app.app_context():
            ids = [service.create_segment(owner, name, {"tag": "x"}).id for name in ("One", "Two")]
            make.mailing(owner, audience=Audience.SEGMENT, segment_id=ids[1])
            db.session.commit()
        answer = delete(owner_client, ids, "/clients/segments/bulk")
        assert answer.status_code == 409
        assert "A mailing uses the segment “Two”" in answer.text
        assert owner_client.get("/clients/segments/").text.count("data-row-link") == 2
