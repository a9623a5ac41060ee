"""The operator's commands."""

from flask import Flask


def init_app(app: Flask) -> None:
    del app
