"""Time: now in aware UTC, the column type that keeps it so, and IANA time zones."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy import DateTime, Dialect
from sqlalchemy.types import TypeDecorator


def now() -> datetime:
    """The present moment in aware UTC. Everything that asks for the time asks here."""
    return datetime.now(UTC)


def whole_second_after(moment: datetime) -> datetime:
    """`moment` itself on a whole second, else the next one: an alarm may ring late, never early."""
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else whole + timedelta(seconds=1)


@cache
def time_zone_names() -> tuple[str, ...]:
    """All IANA names that people choose from, sorted: continents and UTC, without old aliases such as EST5EDT."""
    return tuple(sorted(name for name in available_timezones() if _is_for_people(name)))


def _is_for_people(name: str) -> bool:
    return name == "UTC" or ("/" in name and not name.startswith(("Etc/", "SystemV/", "posix/", "right/", "US/")))


def zone(name: str) -> ZoneInfo:
    """Raises: zoneinfo.ZoneInfoNotFoundError where there is no such zone."""
    return ZoneInfo(name)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in time. Takes aware values only, and gives aware UTC back, on every database.

    SQLite has no type for time: it keeps UTC as text that sorts as time does.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive datetime has no place in the database: {value!r}")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's signature
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
