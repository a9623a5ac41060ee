"""Typed settings, read from the environment and `.env`, and checked once at start."""

import hashlib
import ipaddress
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from email_validator import EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    Field,
    HttpUrl,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_SECRET_KEY = "change-me-to-a-long-random-text"  # noqa: S105  what .env.sample says: refused in production
OF_MAIL_SERVER = {
    "mail_server",
    "mail_port",
    "mail_username",
    "mail_password",
    "mail_use_tls",
    "mail_use_ssl",
}  # these mean nothing to the local inbox
LONGEST_SOCKET_PATH = 100  # bytes; a unix socket's address holds 108 with its end


class SettingsError(SystemExit):
    """The settings can't be used. Its text names every bad one, and ends the program when nobody catches it."""


def _time_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("is no IANA time zone, such as Europe/Moscow")
    return name


def _sender(address: str) -> str:
    try:
        return validate_email(address, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        raise ValueError(f"is no e-mail address: {error}") from None


def _base_url(url: str) -> str:
    try:
        parsed = TypeAdapter(HttpUrl).validate_python(url)
    except ValidationError:
        raise ValueError("is no address such as https://golub.example.com") from None
    if parsed.username or parsed.query is not None or parsed.fragment is not None:
        raise ValueError("must be a plain address: no account, no ?, no #")
    return str(parsed).rstrip("/")


def _send_api_url(url: str) -> str:
    if not url:
        return url
    try:
        parsed = TypeAdapter(HttpUrl).validate_python(url)
    except ValidationError:
        raise ValueError("is no address such as https://sending.example.com/v1/messages") from None
    if parsed.username or parsed.password or parsed.fragment is not None:
        raise ValueError("must be a plain address: no #, and no account, which SEND_API_TOKEN is for")
    return str(parsed)


def _token(token: str) -> str:
    if not all("!" <= letter <= "~" for letter in token):
        raise ValueError("may have letters, digits and signs of ASCII only, and no space")
    return token


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _database_url(url: str) -> str:
    """SQLAlchemy wants the driver named; hosting providers write postgres://."""
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            url = "postgresql+psycopg2://" + url.removeprefix(prefix)
    if not url.startswith(("sqlite://", "postgresql+psycopg2://")):
        raise ValueError("must begin with sqlite:// or postgresql://")
    try:
        make_url(url)
    except (ArgumentError, ValueError):  # their texts may show the password
        raise ValueError("can't be read; it looks like postgresql://user:password@host:5432/name") from None
    return url


def _redis_url(url: str) -> str:
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    try:
        Redis.from_url(url).close()  # it connects at the first command only
    except ValueError:
        raise ValueError("can't be read; it looks like redis://:password@host:6379/0") from None
    return url


def _absolute(path: Path) -> Path:
    return ROOT / path


def _hosts(names: str) -> str:
    if any("/" in name or "@" in name for name in names.split(",")):
        raise ValueError("is no list of host names such as golub.example.com,10.0.0.5")
    return names


Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """Everything that an operator can set. `.env.sample` describes each one for people."""

    model_config = SettingsConfigDict(env_file=ROOT / ".env", env_ignore_empty=True, extra="ignore")

    app_env: Literal["production", "development", "test"] = "production"
    instance_path: Annotated[Path, AfterValidator(_absolute)] = ROOT / "instance"

    secret_key: str
    database_url: Annotated[str, AfterValidator(_database_url)]
    redis_url: Annotated[str, AfterValidator(_redis_url)]
    base_url: Annotated[str, AfterValidator(_base_url)]
    timezone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    trusted_hosts: Annotated[str, AfterValidator(_hosts)] = ""
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0

    mail_server: str
    mail_port: Port = 587
    mail_username: str | None = None
    mail_password: str | None = None
    mail_use_tls: bool = False
    mail_use_ssl: bool = False
    mail_default_sender: Annotated[str, AfterValidator(_sender)]
    mail_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30
    mail_per_connection: Annotated[int, Field(ge=1)] = 1000
    mail_idle_seconds: Annotated[float, Field(ge=0, le=3600)] = 20
    mail_per_second: Annotated[int, Field(ge=0)] = 0
    mail_per_hour: Annotated[int, Field(ge=0)] = 0

    send_api_url: Annotated[str, AfterValidator(_send_api_url)] = ""  # empty: mailings leave through the mail server
    send_api_token: Annotated[str, AfterValidator(_token)] = ""

    inbox_port: Port = 5025
    inbox_enabled: bool = False  # follows from the others, see _fill_development

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    claim_size: Annotated[int, Field(ge=1, le=1000)] = 400
    claim_lease_seconds: Annotated[int, Field(ge=10, le=3600)] = 120
    deliver_slice_seconds: Annotated[float, Field(gt=0, le=300)] = 10
    deliver_connections: Annotated[int, Field(ge=1, le=50)] = 4
    import_max_mb: Annotated[int, Field(ge=1, le=2000)] = 200
    pictures_max_mb: Annotated[int, Field(ge=1, le=100_000)] = 500  # of one user, all together
    import_max_rows: Annotated[int, Field(ge=1, le=50_000_000)] = 5_000_000
    retry_first_seconds: Annotated[int, Field(ge=1, le=86400)] = 60
    retry_longest_seconds: Annotated[int, Field(ge=1, le=86400)] = 3600
    retry_hours: Annotated[float, Field(ge=0, le=240)] = 24
    attempts_max: Annotated[int, Field(ge=1, le=1000)] = 50

    @model_validator(mode="before")
    @classmethod
    def _fill_development(cls, given: dict[str, Any]) -> dict[str, Any]:
        """In development everything has a default, and without a mail server letters go to the local inbox."""
        if given.get("app_env", "production") != "development":
            return given
        instance = ROOT / given.get("instance_path", "instance")
        inbox_port = given.get("inbox_port", 5025)
        defaults: dict[str, Any] = {
            "secret_key": SAMPLE_SECRET_KEY,
            "database_url": f"sqlite:///{instance / 'golub.db'}",
            "redis_url": f"unix://{development_redis_socket(instance)}?db=0",
            "base_url": f"http://127.0.0.1:{os.environ.get('PORT') or 5000}",
            "mail_default_sender": "golub@golub.example",
        }
        if not given.get("mail_server"):
            defaults |= {"mail_server": "127.0.0.1", "mail_port": inbox_port, "inbox_enabled": True}
            given = {key: value for key, value in given.items() if key not in OF_MAIL_SERVER}
        return defaults | given

    @field_validator("secret_key")
    @classmethod
    def _secret_enough(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("app_env") == "production":
            if value == SAMPLE_SECRET_KEY:
                raise ValueError("is still the sample's; make one with: openssl rand -hex 32")
            if len(value) < 32:
                raise ValueError("is shorter than 32 characters")
        return value

    @field_validator("inbox_enabled")
    @classmethod
    def _inbox_in_development(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("app_env") != "development":
            raise ValueError("shows everyone's letters: it is for development only")
        return value

    @field_validator("mail_use_ssl")
    @classmethod
    def _one_encryption(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("mail_use_tls"):
            raise ValueError("and MAIL_USE_TLS exclude each other: TLS means STARTTLS, SSL means TLS from the start")
        return value

    @field_validator("send_api_url")
    @classmethod
    def _no_messages_in_the_clear(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("app_env") == "production" and value.startswith("http://") and not _is_this_machine(value):
            raise ValueError("must begin with https:// in production, unless the service is on this machine")
        return value

    @property
    def is_production(self) -> bool:
        return self.app_env == "production"

    @property
    def is_https(self) -> bool:
        return self.base_url.startswith("https://")

    @property
    def mail_account(self) -> str:
        """What rates and the breaker are kept for: the sending service, or one account at one mail server."""
        return self.send_api_url or f"{self.mail_username or ''}@{self.mail_server}:{self.mail_port}"

    @property
    def hosts(self) -> list[str]:
        """The names in a Host header that we answer to: that of BASE_URL, and what the operator adds."""
        named = [urlsplit(self.base_url).hostname or "", *self.trusted_hosts.split(",")]
        local = [] if self.is_production else ["localhost", "127.0.0.1", "[::1]"]
        return [name.strip() for name in (*named, *local) if name.strip()]

    def for_flask(self) -> dict[str, Any]:
        """The same settings under the names that Flask and its extensions look for."""
        return {
            "SETTINGS": self,
            "SECRET_KEY": self.secret_key,
            "TESTING": self.app_env == "test",
            "SQLALCHEMY_DATABASE_URI": self.database_url,
            "SQLALCHEMY_ENGINE_OPTIONS": {
                "pool_pre_ping": not self.database_url.startswith("sqlite"),
                "hide_parameters": self.is_production,  # a fault's text goes to the log: no letters, no hashes
            },
            "BABEL_DEFAULT_LOCALE": "en",
            "BABEL_DEFAULT_TIMEZONE": self.timezone,
            "CACHE_TYPE": "RedisCache",
            "CACHE_REDIS_URL": self.redis_url,
            "CACHE_KEY_PREFIX": "golub:cache:",
            # A page that is made anew is quicker than one that waits for Redis.
            "CACHE_OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5, "retry": Retry(NoBackoff(), 0)},
            "MAIL_SERVER": self.mail_server,
            "MAIL_PORT": self.mail_port,
            "MAIL_USERNAME": self.mail_username,
            "MAIL_PASSWORD": self.mail_password,
            "MAIL_USE_TLS": self.mail_use_tls,
            "MAIL_USE_SSL": self.mail_use_ssl,
            "MAIL_DEFAULT_SENDER": self.mail_default_sender,
            "MAIL_SUPPRESS_SEND": False,
            "INBOX_ENABLED": self.inbox_enabled,
            "SESSION_COOKIE_HTTPONLY": True,
            "SESSION_COOKIE_SAMESITE": "Lax",
            "SESSION_COOKIE_SECURE": self.is_https,
            "SESSION_PROTECTION": None,  # a log-in is a row that its owner sees and ends: app.auth.logins
            "TRUSTED_HOSTS": self.hosts,
            "RATELIMIT_STORAGE_URI": self.redis_url.replace("unix://", "redis+unix://", 1),
            "MAX_CONTENT_LENGTH": 16 * 1024 * 1024,
            "MAX_FORM_MEMORY_SIZE": 4 * 1024 * 1024,  # a message may have half a megabyte, and more while it is typed
            "WTF_CSRF_TIME_LIMIT": None,  # the token lives as long as its session: forms left open overnight still work
            "WTF_CSRF_SSL_STRICT": False,  # SameSite and the token do the work; a missing Referer is no attack
        }


def development_redis_socket(instance: Path = ROOT / "instance") -> Path:
    """Where `make run` keeps its Redis: beside the data, or in the temporary folder when that path is too deep."""
    beside = instance.resolve() / "redis.sock"
    if len(os.fsencode(beside)) <= LONGEST_SOCKET_PATH:
        return beside
    digest = hashlib.sha256(os.fsencode(beside)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"golub-{os.getuid()}-{digest}" / "redis.sock"


def load_settings(**given: Any) -> Settings:
    """Read and check the settings; `given` beats the environment.

    Raises:
        SettingsError: with one line for every setting that is missing or bad.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise SettingsError(
            "Golub can't start with these settings (.env.sample describes each):\n  " + "\n  ".join(lines)
        ) from None


def _explain(problem: Any) -> str:
    name = "_".join(str(part) for part in problem["loc"][:1]).upper()
    if problem["type"] == "missing":
        return f"{name} is not set"
    text = str(problem["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{name} {text}" if name else text
