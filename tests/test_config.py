"""Settings: each bad one is named, and nothing starts with a bad one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from app.config import ROOT, Settings, SettingsError, development_redis_socket, load_settings

pytestmark = pytest.mark.one_database

SAMPLE = ROOT / ".env.sample"
PRODUCTION: dict[str, Any] = {
    "app_env": "production",
    "secret_key": "0123456789abcdef" * 4,
    "database_url": "postgresql://golub:password@127.0.0.1:5432/golub",
    "redis_url": "redis://127.0.0.1:6379/0",
    "base_url": "https://golub.test",
    "mail_server": "smtp.golub.test",
    "mail_default_sender": "golub@golub.test",
}
REQUIRED = set(PRODUCTION) - {"app_env"}


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment of whoever runs the tests nor their .env shall matter."""
    for name in [*Settings.model_fields, "port"]:
        monkeypatch.delenv(name.upper(), raising=False)


def settings(**given: Any) -> Settings:
    return load_settings(_env_file=None, **given)


def refusal(**given: Any) -> list[str]:
    """What is wrong with these settings, a line each."""
    with pytest.raises(SettingsError) as caught:
        settings(**given)
    head, *lines = str(caught.value).splitlines()
    assert ".env.sample" in head
    return [line.strip() for line in lines]


# Production


def test_good_settings_are_taken() -> None:
    given = settings(**PRODUCTION)
    assert given.is_production
    assert not given.inbox_enabled
    assert (given.mail_port, given.timezone, given.log_level) == (587, "UTC", "INFO")


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("MAIL_PORT", "2525")
    monkeypatch.setenv("MAIL_USE_TLS", "true")
    assert settings().mail_port == 2525
    assert settings().mail_use_tls is True


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PORT", "")
    monkeypatch.setenv("BASE_URL", "")
    given = dict(PRODUCTION)
    del given["base_url"]
    assert refusal(**given) == ["BASE_URL is not set"]
    assert settings(**PRODUCTION).mail_port == 587


def test_production_is_what_runs_when_nobody_says() -> None:
    assert {line.split()[0] for line in refusal()} == {name.upper() for name in REQUIRED}


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_in_production_a_missing_setting_is_named(name: str) -> None:
    given = {key: value for key, value in PRODUCTION.items() if key != name}
    assert refusal(**given) == [f"{name.upper()} is not set"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("app_env", "prod"),
        ("secret_key", "too short"),
        ("secret_key", "change-me-to-a-long-random-text"),
        ("database_url", "mysql://golub@localhost/golub"),
        ("database_url", "golub.db"),
        ("database_url", "postgresql://golub:password@localhost:port/golub"),
        ("redis_url", "localhost:6379"),
        ("redis_url", "redis://localhost:port/0"),
        ("base_url", "golub.test"),
        ("base_url", "ftp://golub.test"),
        ("base_url", "https://me:password@golub.test"),
        ("base_url", "https://golub.test/?a=b"),
        ("base_url", "https://golub.test/#top"),
        ("timezone", "Mars/Olympus"),
        ("timezone", "../../etc/passwd"),
        ("timezone", "europe moscow"),
        ("mail_port", 0),
        ("mail_port", 65536),
        ("mail_port", "smtp"),
        ("mail_use_tls", "perhaps"),
        ("mail_default_sender", "golub"),
        ("mail_default_sender", "golub@golub.test\nBcc: all@golub.test"),
        ("mail_default_sender", "Golub <golub@golub.test>"),
        ("mail_timeout_seconds", 0),
        ("mail_timeout_seconds", "nan"),
        ("mail_timeout_seconds", "inf"),
        ("send_api_url", "sending.golub.test"),
        ("send_api_url", "ftp://sending.golub.test"),
        ("send_api_url", "https://me:password@sending.golub.test"),
        ("send_api_url", "https://:password@sending.golub.test"),
        ("send_api_url", "https://sending.golub.test/#top"),
        ("send_api_url", "http://sending.golub.test/"),
        ("send_api_url", "http://10.0.0.5/"),
        ("send_api_url", "http://localhost.golub.test/"),
        ("send_api_token", "two words"),
        ("send_api_token", "token\r\nX-More: 1"),
        ("send_api_token", "ключ"),
        ("inbox_port", -1),
        ("inbox_enabled", "true"),
        ("log_level", "loud"),
        ("claim_size", 0),
        ("claim_size", 1001),
        ("claim_lease_seconds", 9),
        ("deliver_slice_seconds", 0),
        ("deliver_connections", 0),
        ("attempts_max", 0),
        ("attempts_max", "1.5"),
    ],
)
def test_a_bad_value_is_one_line_that_names_its_setting(name: str, value: Any) -> None:
    (line,) = refusal(**PRODUCTION | {name: value})
    assert line.split()[0] == name.upper()


def test_all_bad_settings_are_named_at_once() -> None:
    bad = {
        "secret_key": "short",
        "database_url": "nonsense",
        "mail_port": "x",
        "timezone": "?",
        "inbox_enabled": "true",
    }
    given = PRODUCTION | bad
    del given["mail_server"]
    names = {line.split()[0] for line in refusal(**given)}
    assert names == {name.upper() for name in [*bad, "mail_server"]}


def test_a_refusal_shows_no_password() -> None:
    given = PRODUCTION | {
        "secret_key": "hunter2",
        "database_url": "postgresql://golub:hunter2@localhost:x/golub",
        "redis_url": "redis://:hunter2@localhost:x",
        "send_api_url": "https://golub:hunter2@sending.golub.test",
        "send_api_token": "hunter2 ",
    }
    assert len(refusal(**given)) == 5
    assert "hunter2" not in "\n".join(refusal(**given))


def test_tls_and_ssl_exclude_each_other() -> None:
    (line,) = refusal(**PRODUCTION, mail_use_tls=True, mail_use_ssl=True)
    assert "MAIL_USE_SSL" in line
    assert "MAIL_USE_TLS" in line


@pytest.mark.parametrize(
    "url",
    [
        "https://sending.golub.test/v1/messages?version=2",
        "http://127.0.0.1:8025/",
        "http://[::1]:8025/send",
        "http://localhost:8025/",
    ],
)
def test_a_sending_service_is_asked_over_tls_or_on_this_machine(url: str) -> None:
    assert settings(**PRODUCTION, send_api_url=url).send_api_url == url


def test_outside_production_a_sending_service_may_be_asked_without_tls() -> None:
    given = settings(**PRODUCTION | {"app_env": "test"}, send_api_url="http://sending.golub.test/")
    assert given.send_api_url == "http://sending.golub.test/"


def test_without_a_sending_service_the_mail_server_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEND_API_URL", "")
    assert settings(**PRODUCTION).send_api_url == ""
    assert settings(**PRODUCTION, send_api_url="").send_api_url == ""


def test_a_sending_service_has_rates_and_a_breaker_of_its_own() -> None:
    at_server = settings(**PRODUCTION).mail_account
    at_service = settings(**PRODUCTION, send_api_url="https://sending.golub.test/").mail_account
    assert (at_server, at_service) == ("@smtp.golub.test:587", "https://sending.golub.test/")


@pytest.mark.parametrize("app_env", ["production", "test"])
def test_the_inbox_is_for_development_only(app_env: str) -> None:
    (line,) = refusal(**PRODUCTION | {"app_env": app_env, "inbox_enabled": True})
    assert line.startswith("INBOX_ENABLED ")
    assert not settings(**PRODUCTION | {"app_env": app_env, "inbox_enabled": "false"}).inbox_enabled


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_postgresql_may_be_written_as_hosting_providers_do(scheme: str) -> None:
    given = settings(**PRODUCTION | {"database_url": f"{scheme}://golub@db/golub?sslmode=require"})
    assert given.database_url == "postgresql+psycopg2://golub@db/golub?sslmode=require"


def test_the_base_url_has_no_slash_at_its_end() -> None:
    assert settings(**PRODUCTION | {"base_url": "https://golub.test/"}).base_url == "https://golub.test"
    assert settings(**PRODUCTION | {"base_url": "https://x.test/golub/"}).base_url == "https://x.test/golub"


@pytest.mark.parametrize(("base_url", "secure"), [("https://golub.test", True), ("http://golub.test", False)])
def test_cookies_are_for_tls_alone_where_there_is_tls(base_url: str, secure: bool) -> None:
    config = settings(**PRODUCTION | {"base_url": base_url}).for_flask()
    assert config["SESSION_COOKIE_SECURE"] is secure
    assert config["SESSION_COOKIE_HTTPONLY"] is True


# Development


def test_development_needs_no_settings(tmp_path: Path) -> None:
    given = settings(app_env="development", instance_path=tmp_path)
    assert given.database_url == f"sqlite:///{tmp_path}/golub.db"
    assert given.redis_url == f"unix://{development_redis_socket(tmp_path)}?db=0"
    assert given.base_url == "http://127.0.0.1:5000"


def test_development_follows_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "5017")
    assert settings(app_env="development").base_url == "http://127.0.0.1:5017"


def test_in_development_letters_go_to_the_inbox() -> None:
    given = settings(app_env="development", inbox_port=5026)
    assert given.inbox_enabled
    assert (given.mail_server, given.mail_port) == ("127.0.0.1", 5026)


def test_the_inbox_is_asked_for_no_encryption_and_no_account() -> None:
    """Somebody who took MAIL_SERVER alone out of their .env shall find their letters in the inbox."""
    given = settings(
        app_env="development", mail_port=465, mail_use_tls=True, mail_username="me", mail_password="password"
    )
    assert (given.mail_port, given.mail_use_tls, given.mail_username) == (given.inbox_port, False, None)


def test_in_development_a_mail_server_takes_the_place_of_the_inbox() -> None:
    given = settings(app_env="development", mail_server="smtp.golub.test", mail_use_tls=True)
    assert not given.inbox_enabled
    assert (given.mail_server, given.mail_port, given.mail_use_tls) == ("smtp.golub.test", 587, True)


def test_bad_settings_are_refused_in_development_too() -> None:
    assert refusal(app_env="development", timezone="Mars/Olympus") == [
        "TIMEZONE is no IANA time zone, such as Europe/Moscow"
    ]


def test_a_relative_instance_path_is_one_in_the_project() -> None:
    given = settings(app_env="development", instance_path="elsewhere")
    assert given.instance_path == ROOT / "elsewhere"
    assert given.database_url == f"sqlite:///{ROOT}/elsewhere/golub.db"


def test_redis_has_its_socket_beside_the_data(tmp_path: Path) -> None:
    shallow = Path("/tmp/golub")  # noqa: S108  nothing is made there
    assert development_redis_socket(shallow) == shallow.resolve() / "redis.sock"


def test_where_the_data_lies_too_deep_the_socket_is_in_the_temporary_folder(tmp_path: Path) -> None:
    """The address of a unix socket holds 108 bytes, and Cyrillic letters need two each."""
    for deep in (tmp_path / ("d" * 100), tmp_path / ("ж" * 50)):
        socket = development_redis_socket(deep)
        assert not socket.is_relative_to(deep)
        assert len(os.fsencode(socket)) <= 100
        assert socket == development_redis_socket(deep)
        assert socket != development_redis_socket(deep / "other")


# The sample


def test_the_sample_names_exactly_what_can_be_set() -> None:
    named = set()
    for line in SAMPLE.read_text().splitlines():
        name, is_setting, _value = line.removeprefix("# ").partition("=")
        if is_setting and name.isupper() and " " not in name:
            assert name.lower() not in named, f"{name} stands there twice"
            named.add(name.lower())
    # INBOX_ENABLED follows from the others; PORT is read by `make run`.
    assert named == set(Settings.model_fields) - {"inbox_enabled"} | {"port"}


def test_the_sample_says_the_true_defaults() -> None:
    examples = {"instance_path", "mail_username", "mail_password", "trusted_hosts", "send_api_url", "send_api_token"}
    for name, field in Settings.model_fields.items():
        if not field.is_required() and f"\n# {name.upper()}=" in SAMPLE.read_text():
            said = SAMPLE.read_text().split(f"\n# {name.upper()}=")[1].splitlines()[0]
            expected = "false" if field.default is False else str(field.default)
            assert name in examples or said == expected


def test_every_setting_of_the_sample_has_a_comment_that_names_its_default() -> None:
    for paragraph in SAMPLE.read_text().split("\n\n")[1:]:
        comment = [line for line in paragraph.splitlines() if line.startswith("# ")]
        if not paragraph.startswith("# ---"):
            assert "efault" in " ".join(comment), paragraph


def test_the_sample_as_it_stands_is_refused_for_its_secret_key() -> None:
    given = {name.lower(): value for name, value in dotenv_values(SAMPLE).items()}
    (line,) = refusal(**given)
    assert line.startswith("SECRET_KEY is still the sample's")


def test_the_sample_with_another_secret_key_is_good() -> None:
    given = {name.lower(): value for name, value in dotenv_values(SAMPLE).items()}
    assert settings(**given | {"secret_key": "0123456789abcdef" * 4}).is_production


def test_with_everything_uncommented_the_sample_is_good_too(tmp_path: Path) -> None:
    lines = SAMPLE.read_text().splitlines()
    plain = [line[2:] if line.startswith("# ") and line[2:].split("=")[0].isupper() else line for line in lines]
    whole = tmp_path / "env"
    whole.write_text("\n".join(plain))
    given = {name.lower(): value for name, value in dotenv_values(whole).items() if value}
    given |= {"secret_key": "0123456789abcdef" * 4, "mail_use_ssl": "false"}
    assert settings(**given).instance_path == Path("/var/lib/golub")


# Processes


@pytest.mark.parametrize("module", ["wsgi", "worker", "scheduler"])
def test_a_process_with_bad_settings_says_so_and_ends(module: str) -> None:
    bad = {"SECRET_KEY": "short", "MAIL_PORT": "smtp", "TIMEZONE": "Mars/Olympus"}
    environment = {name.upper(): value for name, value in PRODUCTION.items()} | bad
    ended = subprocess.run(
        [sys.executable, "-c", f"import {module}; getattr({module}, 'main', print)()"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert [line.split()[0] for line in ended.stderr.splitlines()[1:]] == ["SECRET_KEY", "TIMEZONE", "MAIL_PORT"]
