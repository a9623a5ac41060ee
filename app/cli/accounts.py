"""Who may log in, and as what."""

import sys

import click

from app.addresses import parse_address
from app.auth import queries as accounts
from app.auth import service as auth
from app.auth.forms import one_line
from app.auth.models import User
from app.auth.roles import Role
from app.cli.speaking import BadArguments, command, settings
from app.errors import NotFound
from app.extensions import db

LONGEST_NAME = 150


@command("create-admin")
@click.option("--email", help="The address to log in with.")
@click.option("--name", help="What the administrator is called.")
@click.option(
    "--password", envvar="GOLUB_ADMIN_PASSWORD", show_envvar=True, help="Others may see it in the shell's history."
)
def create_admin(email: str | None, name: str | None, password: str | None) -> None:
    """Create an administrator, who can log in at once.

    What is missing is asked for. Without a terminal the password is the next line of standard input.
    """
    if name is None:
        name = "" if email and password else _ask("Name", may_be_empty=True)
    name = one_line(name)
    if len(name) > LONGEST_NAME:
        raise BadArguments(f"A name has at most {LONGEST_NAME} characters.")
    user = auth.create_admin(email or _ask("E-mail"), password or _ask_password(), name)
    db.session.commit()
    click.echo(f"{user.email} is an administrator now. Log in at {settings().base_url}/auth/login")


def _has_terminal() -> bool:
    return sys.stdin.isatty()


def _ask(what: str, *, may_be_empty: bool = False) -> str:
    if _has_terminal():
        return str(click.prompt(what, default="" if may_be_empty else None, show_default=False))
    if may_be_empty:  # nobody is there to be asked
        return ""
    raise BadArguments(f"{what} is missing, and there is no terminal to ask for it. See: flask create-admin --help")


def _ask_password() -> str:
    if _has_terminal():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    if line := sys.stdin.readline().rstrip("\r\n"):
        return line
    raise BadArguments("The password is missing. Give it by --password, GOLUB_ADMIN_PASSWORD or standard input.")


@command("set-role")
@click.argument("email")
@click.argument("role", metavar="ROLE", type=click.Choice([role.value for role in Role], case_sensitive=False))
def set_role(email: str, role: str) -> None:
    """Give the account EMAIL another role.

    ROLE is user, manager, editor or admin.
    """
    user = account_of(email)
    auth.set_role(user, Role(role))
    db.session.commit()
    click.echo(f"{user.email} has the role “{role}” now.")


def account_of(email: str) -> User:
    user = db.session.scalar(accounts.user_by_email(parse_address(email).key))
    if user is None:
        raise NotFound(f"No account has the address {email}.")
    return user
