"""Logs: one event a line, readable in development and JSON in production, secrets left out."""

import logging
import sys
from typing import Any

import structlog
from structlog.dev import plain_traceback
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor

from app.config import Settings

SECRET_WORDS = ("password", "secret", "token", "authorization", "cookie", "html", "body")
QUIET = {
    "rq.worker": logging.WARNING,
    "rq_scheduler.scheduler": logging.WARNING,
    "mail.log": logging.WARNING,
    "httpcore": logging.WARNING,  # it logs headers, tokens among them
}


def configure_logs(settings: Settings) -> None:
    """Send structlog's events and those of every library through one formatter to standard output."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    # Tracebacks without local variables, which hold passwords, tokens and letters.
    last: list[Processor] = (
        [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
        if settings.is_production
        else [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain_traceback)]
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],  # extras may be secrets too
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(max(level, root.level))


def hide_secrets(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Blank what is named like a secret or a letter's body, wherever it was logged."""
    return {key: value if key == "event" else _hidden(key, value) for key, value in event.items()}


def _hidden(key: Any, value: Any) -> Any:
    if any(word in str(key).lower() for word in SECRET_WORDS):
        return "[hidden]"
    if isinstance(value, dict):
        return {inner: _hidden(inner, its_value) for inner, its_value in value.items()}
    return value
