"""Pages of whoever is logged in are compressed for requests that no other site can make, and for no others."""

import gzip

import pytest
from flask.testing import FlaskClient

pytestmark = pytest.mark.one_database


def ask(client: FlaskClient, path: str, **headers: str) -> tuple[str | None, bytes]:
    sent = {"Accept-Encoding": "gzip", **{name.replace("_", "-"): value for name, value in headers.items()}}
    answer = client.get(path, headers=sent)
    return answer.headers.get("Content-Encoding"), answer.data


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_what_our_own_pages_or_the_reader_ask_for_is_smaller(owner_client: FlaskClient, site: str) -> None:
    plain = owner_client.get("/clients/").data
    encoding, packed = ask(owner_client, "/clients/", Sec_Fetch_Site=site)
    assert encoding == "gzip"
    assert len(packed) < len(plain) / 2
    assert b"</html>" in gzip.decompress(packed)
    encoding, _fragment = ask(owner_client, "/search?q=a", Sec_Fetch_Site=site, HX_Request="true")
    assert encoding == "gzip"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "Same-Origin, cross-site"])
def test_what_another_site_may_have_asked_for_goes_as_it_is(owner_client: FlaskClient, site: str) -> None:
    assert ask(owner_client, "/search?q=guess", Sec_Fetch_Site=site)[0] is None
    assert ask(owner_client, "/search?q=guess")[0] is None


def test_downloads_and_small_answers_are_left_alone(owner_client: FlaskClient) -> None:
    assert ask(owner_client, "/clients/export.csv", Sec_Fetch_Site="same-origin")[0] is None
    assert (
        owner_client.get("/clients/", headers={"Sec-Fetch-Site": "same-origin"}).headers.get("Content-Encoding") is None
    )
