"""Demo data: what a new user sees first. Nothing in it pretends to have been sent: that is left to the engine."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import cache
from pathlib import Path
from string import Template
from zoneinfo import ZoneInfo

from sqlalchemy import select

from app import clock
from app.addresses import parse_address
from app.auth import passwords
from app.auth import queries as accounts
from app.auth.models import User
from app.auth.roles import Role
from app.blog.models import Post
from app.clients import service as clients
from app.clients.models import Client, Segment
from app.delivery.render import inline_css
from app.demo import people
from app.extensions import db
from app.mailings import service as mailings
from app.mailings.models import Audience, Mailing
from app.mailings.schedule import Period, Schedule, local_to_utc
from app.mailings.service import Draft
from app.messages import service as messages
from app.messages.content import text_of
from app.messages.models import Message
from app.messages.service import MessageData

DEMO_PASSWORD = "carrier-pigeon"  # noqa: S105  public on purpose; production refuses to load the demo
MOSCOW = "Europe/Moscow"
FIRST_MAILING_IN = timedelta(seconds=20)  # time to log in and watch it leave
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Person:
    """Somebody with an account."""

    email: str
    name: str
    role: Role
    may: str  # for the table that is shown to the operator


PEOPLE = (
    Person("user@golub.example", "Vera Sokolova", Role.USER, "keep clients, write messages, send mailings"),
    Person("manager@golub.example", "Maxim Orlov", Role.MANAGER, "look at everything"),
    Person("editor@golub.example", "Nina Vorobyova", Role.EDITOR, "write the blog's articles"),
    Person("admin@golub.example", "Ada Golubeva", Role.ADMIN, "do all of it"),
)

BRANDS = {"en": "Feather &amp; Bean", "ru": "Перо и зерно"}
FEET = {
    "en": 'You get this letter because you asked us for news. <a href="{{ unsubscribe_url }}">Unsubscribe</a>',
    "ru": 'Вы получили это письмо, потому что просили нас писать. <a href="{{ unsubscribe_url }}">Отписаться</a>',
}


@dataclass(frozen=True)
class Article:
    slug: str
    title: str
    summary: str
    locale: str
    days_ago: int
    tags: tuple[str, ...]


ARTICLES = (
    Article(
        "honest-ledger",
        "Four ways a letter can end, and why one of them is “unknown”",
        "Percentages are nice. But what happened to the one letter that your customer is calling about?",
        "en",
        1,
        ("deliverability", "product"),
    ),
    Article(
        "nine-o-clock",
        "“Every day at nine”, and what it takes",
        "Time zones, missing hours, the 31st of February: what a schedule must get right so that you can forget it.",
        "en",
        4,
        ("product", "schedule"),
    ),
    Article(
        "vozvraty",
        "Письмо вернулось: что ответил сервер и что теперь делать",
        "Как читать ответы почтовых серверов, когда пробовать снова и почему важно вовремя остановиться.",
        "ru",
        9,
        ("доставка", "советы"),
    ),
)


def load() -> list[Mailing]:
    """Add what is missing of the demo, and return the new mailings, which are to be announced after the commit.

    An account that is there keeps all that it has, and gets nothing.
    """
    planned = []
    for person in PEOPLE:
        address = parse_address(person.email)
        if db.session.scalar(accounts.user_by_email(address.key)) is not None:
            continue
        user = _account(person)
        if person.role is Role.USER:
            planned = _fill(user)
        elif person.role is Role.EDITOR:
            _publish(user)
    return planned


def _account(person: Person) -> User:
    address = parse_address(person.email)
    user = User(
        email=address.email,
        email_key=address.key,
        password_hash=passwords.hash_password(DEMO_PASSWORD),
        name=person.name,
        role=person.role,
        locale=None,  # as the browser asks
        timezone=MOSCOW,
        verified_at=clock.now(),
    )
    db.session.add(user)
    db.session.flush()
    return user


def _fill(owner: User) -> list[Mailing]:
    """Everything that an owner has."""
    _address_book(owner)
    club = clients.create_segment(owner, "Coffee club", {"tag": people.COFFEE_CLUB})
    recipes = clients.create_segment(owner, "Morning recipes", {"tag": people.RECIPES})
    clients.create_segment(owner, "Born in the nineties", {"born_from": 1990, "born_to": 1999})
    fresh = _message(owner, "fresh_coffees", "Three fresh coffees for this week")
    _message(owner, "fresh_coffees_ru", "Свежая обжарка: три кофе этой недели", locale="ru")
    _message(owner, "thank_you", "Thank you for being with us", brand="A note from us", is_shared=True)
    recipe = _message(owner, "recipe", "Рецепт дня: фильтр без весов и таймера", locale="ru")
    soon, nine = clock.now() + FIRST_MAILING_IN, _next_nine_o_clock()
    planned = [
        _mailing(owner, "Fresh coffees for the club", fresh, club, Schedule(soon, None, Period.ONCE, MOSCOW)),
        _mailing(owner, "Recipe of the day", recipe, recipes, Schedule(nine, None, Period.DAILY, MOSCOW)),
    ]
    _segments_with_or(owner, planned[0])
    return planned


def _segments_with_or(owner: User, club_mailing: Mailing) -> None:
    """What "all of" alone could not say."""
    brews = [{"kind": "attribute", "op": "is", "name": "brews_with", "value": how} for how in ("V60", "AeroPress")]
    fans = [{"kind": "tag", "op": "is", "tag": people.COFFEE_CLUB}, *brews]
    here = [{"kind": "attribute", "op": "is", "name": "city", "value": city} for city in ("Москва", "London")]
    groups = [{"match": "any", "conditions": fans}, {"match": "any", "conditions": here}]
    clients.create_segment(owner, "Filter fans in the capitals", {"match": "all", "groups": groups})
    conditions = [
        {"kind": "tag", "op": "is", "tag": people.COFFEE_CLUB},
        {"kind": "mailing", "op": "not_in", "mailing": club_mailing.id},
    ]
    new = {"match": "all", "groups": [{"match": "all", "conditions": conditions}]}
    clients.create_segment(owner, "Club, without the fresh coffees yet", new)


def _address_book(owner: User) -> None:
    invented = people.invent()
    tags = {tag.name: tag for tag in clients.tags_named(owner.id, [name for one in invented for name in one.tags])}
    now = clock.now()
    for one in invented:
        address = parse_address(one.email)
        client = Client(
            owner_id=owner.id,
            email=address.email,
            email_key=address.key,
            last_name=one.last_name,
            first_name=one.first_name,
            patronymic=one.patronymic,
            birth_year=one.birth_year,
            comment=one.comment,
            attributes=one.attributes,
            status=one.status,
            added_at=now - one.added_ago,
            tags=[tags[name] for name in one.tags],
        )
        db.session.add(client)
    db.session.flush()


def _message(
    owner: User, name: str, subject: str, *, locale: str = "en", brand: str = "", is_shared: bool = False
) -> Message:
    html = _letter(name, locale, brand or BRANDS[locale])
    return messages.create(owner, MessageData(subject, html, is_shared=is_shared))


def _letter(name: str, locale: str, brand: str) -> str:
    """A whole letter with its styles inlined, as people paste it from their editor."""
    text = (HERE / "letters" / f"{name}.html").read_text(encoding="utf-8")
    html = inline_css(_frame().substitute(locale=locale, brand=brand, text=text, foot=FEET[locale]))
    return re.sub(r' class="[\w-]*"', "", html)  # they have done their work


@cache
def _frame() -> Template:
    return Template((HERE / "letters" / "frame.html").read_text(encoding="utf-8"))


def _mailing(owner: User, name: str, message: Message, segment: Segment, schedule: Schedule) -> Mailing:
    draft = Draft(
        name=name,
        message_id=message.id,
        audience=Audience.SEGMENT,
        segment_id=segment.id,
        client_ids=(),
        schedule=schedule,
        sender_name=f"{owner.name}, Feather & Bean",
    )
    return mailings.create(owner, draft)


def _next_nine_o_clock() -> datetime:
    """The next 09:00 in Moscow."""
    today = clock.now().astimezone(ZoneInfo(MOSCOW)).date()
    mornings = (local_to_utc(datetime.combine(today + timedelta(days), time(9)), MOSCOW) for days in (0, 1))
    return next(morning for morning in mornings if morning > clock.now())


def _publish(author: User) -> None:
    """The articles that are not there yet."""
    there = set(db.session.scalars(select(Post.slug)))
    for article in ARTICLES:
        if article.slug in there:
            continue
        html = (HERE / "posts" / f"{article.slug}.html").read_text(encoding="utf-8")
        published_at = clock.now() - timedelta(days=article.days_ago)
        db.session.add(
            Post(
                author_id=author.id,
                title=article.title,
                slug=article.slug,
                summary=article.summary,
                html=html,
                locale=article.locale,
                tags=list(article.tags),
                words=len(text_of(html).split()),
                created_at=published_at,
                updated_at=published_at,
                published_at=published_at,
            )
        )
