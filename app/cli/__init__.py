"""The operator's commands. English only, like the logs.

Each prints what people want to know, or one line on standard error and ends with 1 (it failed) or 2 (bad arguments).
"""

from flask import Flask

from app.cli.accounts import create_admin, set_role
from app.cli.data import import_clients, load_demo
from app.cli.looking import report, run_doctor, runs
from app.cli.sending import dispatch, resend, send_mailing


def init_app(app: Flask) -> None:
    app.cli.add_command(create_admin)
    app.cli.add_command(create_admin, "csu")
    for one in (set_role, load_demo, import_clients, send_mailing, resend, dispatch, report, runs, run_doctor):
        app.cli.add_command(one)
