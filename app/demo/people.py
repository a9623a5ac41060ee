"""Three hundred invented clients, the same at every time."""

import random
from dataclasses import dataclass, field
from datetime import timedelta

from app.clients.models import ClientStatus

CLIENTS = 300
OLDEST_DAYS = 400
SEED = 1850  # when Reuter's pigeons flew from Aachen to Brussels with the news

COFFEE_CLUB = "coffee club"
RECIPES = "recipes"


def _words(text: str) -> list[str]:
    return text.split()


LATIN = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
        _words("a b v g d e e zh z i y k l m n o p r s t u f kh ts ch sh shch - y - e yu ya"),
        strict=True,
    )
)
MEN = _words("""
    Александр Алексей Андрей Антон Борис Виктор Глеб Григорий Денис Егор Иван Илья Кирилл Максим Михаил Никита Николай
    Олег Павел Роман Сергей Степан Тимофей Фёдор Юрий
""")
WOMEN = _words("""
    Алина Алла Анастасия Анна Вера Галина Дарья Евгения Екатерина Елена Зоя Ирина Ксения Лариса Людмила Мария Надежда
    Наталья Ольга Полина Светлана София Татьяна Ульяна Юлия
""")
# Each surname in both of its forms, and so each patronymic.
SURNAMES = [
    (name, f"{name}а")
    for name in _words("""
        Абрамов Баранов Белов Виноградов Воробьёв Гаврилов Голубев Григорьев Громов Данилов Ершов Жуков Зайцев Иванов
        Ильин Карпов Киселёв Ковалёв Комаров Королёв Кузнецов Лебедев Макаров Медведев Морозов Никитин Новиков Орлов
        Павлов Петров Поляков Попов Романов Семёнов Сергеев Смирнов Соколов Сорокин Степанов Титов Фёдоров Филиппов
        Фомин Чернов Щукин Яковлев
    """)
]
SURNAMES += [(f"{stem}ий", f"{stem}ая") for stem in _words("Белинск Вишневск Островск Троицк Чайковск")]
PATRONYMICS = [
    (f"{father}ич", f"{father}на")
    for father in _words("""
        Александров Алексеев Андреев Борисов Викторов Владимиров Дмитриев Евгеньев Иванов Константинов Львов Михайлов
        Николаев Олегов Павлов Петров Романов Сергеев Фёдоров Юрьев
    """)
]
FIRST_NAMES = _words("""
    Alice Amelia Arthur Beatrice Charlotte Daniel David Edward Eleanor Emma Ethan Florence Frances George Grace Hannah
    Harriet Henry Hugo Isaac Isabel Jack James Jane Julia Laura Leo Lily Louis Lucy Martha Matilda Max Nora Oliver Oscar
    Peter Phoebe Rose Ruth Samuel Sarah Theodore Thomas Violet William
""")
LAST_NAMES = _words("""
    Adams Bailey Baker Barnes Bennett Brooks Carter Clarke Cole Cooper Davies Dixon Edwards Ellis Evans Fisher Fletcher
    Foster Gibson Graham Green Harris Hill Holmes Hughes Hunt Jackson Kelly King Lewis Marsh Mason Mills Moore Morgan
    Murray O'Brien Palmer Parker Price Reed Shaw Stone Taylor Turner Walker Ward Wells White Wright
""")
DOMAINS = ("example.com", "example.org", "example.net")
RUSSIAN_CITIES = ("Москва", "Санкт-Петербург", "Казань", "Тверь", "Екатеринбург", "Нижний Новгород", "Калининград")
ENGLISH_CITIES = ("London", "Bristol", "Edinburgh", "Dublin", "Leeds", "Brighton", "York")
BREWERS = ("V60", "moka pot", "French press", "AeroPress", "espresso machine")
RUSSIAN_COMMENTS = ("Просит звонить после обеда.", "Берёт только без кофеина.", "Познакомились на фестивале.")
ENGLISH_COMMENTS = ("Likes it dark.", "Asks for ground coffee.", "We met at the market.", "Pays by invoice.")


@dataclass
class Contact:
    """What the address book knows of somebody."""

    email: str
    last_name: str
    first_name: str
    patronymic: str
    added_ago: timedelta
    birth_year: int | None = None
    comment: str = ""
    status: ClientStatus = ClientStatus.ACTIVE
    tags: list[str] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)


def invent() -> list[Contact]:
    """The clients, those who were added first at the beginning."""
    dice = random.Random(SEED)  # noqa: S311  names, not secrets
    taken: set[str] = set()
    ages = sorted((timedelta(minutes=dice.randint(60, OLDEST_DAYS * 24 * 60)) for _ in range(CLIENTS)), reverse=True)
    return [_contact(dice, taken, age) for age in ages]


def _contact(dice: random.Random, taken: set[str], added_ago: timedelta) -> Contact:
    is_russian = dice.random() < 0.6
    contact = _russian(dice, added_ago) if is_russian else _english(dice, added_ago)
    contact.email = _free_address(dice, taken, contact)
    if dice.random() < 0.85:
        contact.birth_year = dice.choice((dice.randint(1950, 1979), dice.randint(1975, 2005)))
    if dice.random() < 0.1:
        contact.comment = dice.choice(RUSSIAN_COMMENTS if is_russian else ENGLISH_COMMENTS)
    contact.status = _status(dice)
    contact.tags = _tags(dice, is_russian)
    if dice.random() < 0.7:
        contact.attributes["city"] = dice.choice(RUSSIAN_CITIES if is_russian else ENGLISH_CITIES)
    if dice.random() < 0.4:
        contact.attributes["brews_with"] = dice.choice(BREWERS)
    return contact


def _russian(dice: random.Random, added_ago: timedelta) -> Contact:
    form = dice.randint(0, 1)  # 0: a man, 1: a woman
    patronymic = dice.choice(PATRONYMICS)[form] if dice.random() < 0.8 else ""
    return Contact("", dice.choice(SURNAMES)[form], dice.choice((MEN, WOMEN)[form]), patronymic, added_ago)


def _english(dice: random.Random, added_ago: timedelta) -> Contact:
    return Contact("", dice.choice(LAST_NAMES), dice.choice(FIRST_NAMES), "", added_ago)


def _free_address(dice: random.Random, taken: set[str], contact: Contact) -> str:
    """An address at a domain that belongs to nobody (RFC 2606, 3)."""
    first, last = _in_latin(contact.first_name), _in_latin(contact.last_name)
    local = dice.choice((f"{first}.{last}", f"{first[0]}.{last}", f"{last}.{first}"))
    domain = dice.choice(DOMAINS)
    address, number = f"{local}@{domain}", 2
    while address in taken:
        address, number = f"{local}{number}@{domain}", number + 1
    taken.add(address)
    return address


def _in_latin(name: str) -> str:
    letters = "".join(LATIN.get(letter, letter) for letter in name.lower())
    return "".join(letter for letter in letters if letter.isalpha())


def _status(dice: random.Random) -> ClientStatus:
    number = dice.random()
    if number < 0.04:
        return ClientStatus.UNSUBSCRIBED
    return ClientStatus.BOUNCED if number < 0.06 else ClientStatus.ACTIVE


def _tags(dice: random.Random, is_russian: bool) -> list[str]:
    letters = ((RECIPES, 0.15), (COFFEE_CLUB, 0.04)) if is_russian else ((COFFEE_CLUB, 0.3),)
    shares = (*letters, ("wholesale", 0.07), ("tea", 0.15), ("market", 0.12), ("vip", 0.04))
    return [name for name, share in shares if dice.random() < share]
