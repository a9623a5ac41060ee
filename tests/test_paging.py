"""Keyset paging: every row once, and nothing of what a person may write into `cursor` reaches the database."""

import base64
import json
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.auth.models import User
from app.clients.models import Client
from app.errors import NotFound
from app.extensions import db
from app.paging import PAGE_SIZE, Page, paginate
from tests import make

pytestmark = pytest.mark.usefixtures("context")

BY_NAME = (Client.last_name, Client.first_name, Client.id)
BY_TIME = (Client.added_at, Client.id)
LIMITS: Any = {
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
    "max_examples": 150,
}


@pytest.fixture
def thirty(context: None) -> list[int]:
    """Thirty clients with few names and few moments between them; their ids."""
    shuffled = random.Random(7)  # noqa: S311  nobody has to guess it
    person = make.user("owner@golub.test")
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for number in range(30):
        make.client(
            person,
            f"client{number}@golub.test",
            last_name=shuffled.choice(["", "Ёлкин", "ёлкин", "O'Brien", "Ivanov", "%", "😀"]),
            first_name=shuffled.choice(["", "Anna", "anna"]),
            added_at=noon + timedelta(microseconds=shuffled.randrange(5), seconds=shuffled.randrange(3)),
        )
    db.session.commit()
    return list(db.session.scalars(select(Client.id).order_by(Client.id)))


def walk(keys: tuple[Any, ...], *, descending: bool = False, size: int = 7) -> list[Client]:
    """All rows, page by page."""
    seen: list[Client] = []
    cursor = None
    for _ in range(100):
        page = paginate(select(Client), *keys, cursor=cursor, descending=descending, size=size)
        seen += page
        cursor = page.next_cursor
        if cursor is None:
            return seen
        assert len(page.items) == size
    raise AssertionError("there is no end")


def first_cursor(*keys: Any) -> str:
    cursor = paginate(select(Client), *keys, size=3).next_cursor
    assert cursor is not None
    return cursor


def cursor_of(values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize("size", [1, 7, 29, 30, 31])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("keys", [(Client.id,), BY_NAME, BY_TIME])
def test_a_walk_meets_every_row_once_and_in_order(
    thirty: list[int], keys: tuple[Any, ...], descending: bool, size: int
) -> None:
    order = [key.desc() if descending else key.asc() for key in keys]
    expected = list(db.session.scalars(select(Client.id).order_by(*order)))
    assert [client.id for client in walk(keys, descending=descending, size=size)] == expected
    assert sorted(expected) == thirty


def test_the_last_page_leads_nowhere(thirty: list[int]) -> None:
    whole = paginate(select(Client), Client.id, size=30)
    assert len(whole.items) == 30
    assert whole.next_cursor is None


def test_a_list_without_rows_is_one_empty_page() -> None:
    page: Page[Client] = paginate(select(Client), Client.id)
    assert not page
    assert list(page) == []
    assert page.next_cursor is None


def test_a_page_has_fifty_rows_unless_told(thirty: list[int]) -> None:
    person = db.session.scalars(select(User)).one()
    make.clients(person, 25)
    page = paginate(select(Client), Client.id)
    assert len(page.items) == PAGE_SIZE == 50
    assert page.next_cursor is not None


def test_the_querys_own_conditions_stay(thirty: list[int]) -> None:
    stranger = make.user("stranger@golub.test")
    make.client(stranger, "theirs@golub.test")
    theirs = select(Client).where(Client.owner_id == stranger.id)
    assert [row.email for row in paginate(theirs, *BY_NAME, cursor=cursor_of(["", "", 0]))] == ["theirs@golub.test"]


def test_rows_that_come_and_go_shift_nothing(thirty: list[int]) -> None:
    """With OFFSET, a row deleted on page 1 would hide a row between pages 1 and 2."""
    page = paginate(select(Client), Client.id, size=10)
    db.session.delete(page.items[0])
    db.session.delete(page.items[-1])
    db.session.flush()
    after = paginate(select(Client), Client.id, cursor=page.next_cursor, size=10)
    assert [client.id for client in after] == thirty[10:20]


def test_a_cursor_of_another_order_is_not_found(thirty: list[int]) -> None:
    for keys, cursor in (
        (BY_NAME, first_cursor(*BY_TIME)),
        (BY_TIME, first_cursor(*BY_NAME)),
        ((Client.id,), first_cursor(*BY_TIME)),
    ):
        with pytest.raises(NotFound):
            paginate(select(Client), *keys, cursor=cursor)


NASTY_TEXTS = ["\x00", "a\x00b", "\ud800", "x\udfff"]
NASTY_NUMBERS: list[Any] = [-1, 2**63, 2**64, 10**400, -(2**63) - 1, 1.5, 1e308, True, False, None, "1", [], {}, [1]]
NASTY_TIMES: list[Any] = [
    "",
    "now",
    "2026-03-01",
    "2026-03-01T12:00:00",
    "2026-13-01T00:00:00+00:00",
    "0000-01-01T00:00:00+00:00",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "9999-12-31T23:59:59.999999-00:01",
    "0001-01-01T00:00:00+00:01",
    "2026-03-01T12:00:00+99:99",
    1,
    None,
    True,
    [],
    {},
    "9" * 10_000,
]


@pytest.mark.parametrize("value", NASTY_NUMBERS)
def test_a_forged_number_is_not_found(thirty: list[int], value: Any) -> None:
    for keys, values in (((Client.id,), [value]), (BY_NAME, ["a", "b", value])):
        with pytest.raises(NotFound):
            paginate(select(Client), *keys, cursor=cursor_of(values))


def test_a_number_beyond_the_columns_is_no_fault(thirty: list[int]) -> None:
    """User.id is an INTEGER: PostgreSQL has to compare it with what would fit into a BIGINT only."""
    assert list(paginate(select(User), User.id, cursor=cursor_of([2**63 - 1]))) == []
    assert len(paginate(select(User), User.id, cursor=cursor_of([2**31]), descending=True).items) == 1


@pytest.mark.parametrize("value", [*NASTY_TEXTS, 1, None, True, [], {}])
def test_a_forged_text_is_not_found(thirty: list[int], value: Any) -> None:
    with pytest.raises(NotFound):
        paginate(select(Client), *BY_NAME, cursor=cursor_of([value, "", 1]))


@pytest.mark.parametrize("value", NASTY_TIMES)
def test_a_forged_moment_is_not_found(thirty: list[int], value: Any) -> None:
    with pytest.raises(NotFound):
        paginate(select(Client), *BY_TIME, cursor=cursor_of([value, 1]))


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "====",
        "!!!!",
        "null",
        "жук",
        "\x00",
        "bnVsbA",  # null
        "IiI",  # ""
        "e30",  # {}
        "W10",  # []
        "W05hTl0",  # [NaN]
        "W0luZmluaXR5XQ",  # [Infinity]
        "/w",
        "a" * 5,
        "A" * 100_000,
        cursor_of([1, 2, 3, 4, 5]),
        cursor_of("abc"),
        cursor_of({"a": 1, "b": 2, "c": 3}),
        cursor_of(["x" * 100_000, "", 1]),
        base64.urlsafe_b64encode(b"[" * 10_000).decode(),
        base64.urlsafe_b64encode(b"9" * 10_000).decode(),
        base64.urlsafe_b64encode(b"[" + b"9" * 10_000 + b"]").decode(),
        base64.urlsafe_b64encode(b"\xff\xfe[").decode(),
    ],
)
def test_nonsense_is_not_found(thirty: list[int], cursor: str) -> None:
    for keys in ((Client.id,), BY_NAME, BY_TIME):
        with pytest.raises(NotFound):
            paginate(select(Client), *keys, cursor=cursor)


def test_no_cursor_and_an_empty_one_are_the_first_page(thirty: list[int]) -> None:
    assert [client.id for client in paginate(select(Client), Client.id, cursor="", size=5)] == thirty[:5]


def try_cursor(keys: tuple[Any, ...], cursor: str) -> None:
    """Whatever it is: a page or NotFound, and the database stays usable."""
    for descending in (False, True):
        with suppress(NotFound):
            assert len(paginate(select(Client), *keys, cursor=cursor, descending=descending).items) <= 30
    assert db.session.scalar(select(Client.id).limit(1)) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(datetime.isoformat),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@hypothesis_settings(**LIMITS)
@given(value=JSON | st.lists(JSON, min_size=1, max_size=3))
def test_any_value_is_a_page_or_not_found(thirty: list[int], value: Any) -> None:
    for keys in ((Client.id,), BY_NAME, BY_TIME):
        try_cursor(keys, cursor_of(value))


@hypothesis_settings(**LIMITS)
@given(cursor=st.text(max_size=60))
def test_any_text_is_a_page_or_not_found(thirty: list[int], cursor: str) -> None:
    for keys in ((Client.id,), BY_NAME, BY_TIME):
        try_cursor(keys, cursor)


@hypothesis_settings(**LIMITS)
@given(
    moment=st.datetimes(timezones=st.timezones() | st.just(UTC)),
    text=st.text(max_size=50),
    number=st.integers(-(2**70), 2**70),
)
def test_any_edge_of_the_right_types_is_a_page_or_not_found(
    thirty: list[int], moment: datetime, text: str, number: int
) -> None:
    try_cursor((Client.id,), cursor_of([number]))
    try_cursor(BY_NAME, cursor_of([text, text, number]))
    try_cursor(BY_TIME, cursor_of([moment.isoformat(), number]))


def test_the_refusal_is_a_sentence(thirty: list[int]) -> None:
    with pytest.raises(NotFound, match=r"^There is no such page\.$"):
        paginate(select(Client), Client.id, cursor=cursor_of([-1]))
