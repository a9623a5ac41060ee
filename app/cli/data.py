"""Things to begin with."""

from pathlib import Path

import click
from sqlalchemy import select

from app import demo
from app.auth import passwords
from app.auth.models import User
from app.auth.roles import Permission
from app.cli.accounts import account_of
from app.cli.speaking import command, print_table, settings
from app.clients import imports
from app.clients import jobs as client_jobs
from app.clients.models import Import, ImportStatus, KnownClients
from app.errors import RuleBroken
from app.extensions import db
from app.mailings import jobs

BAD_ROWS_SHOWN = 20


@command("load-demo")
@click.option("--if-empty", is_flag=True, help="Do nothing when there is any account.")
@click.option("--force", is_flag=True, help="In production, too, where everybody would know the passwords.")
def load_demo(if_empty: bool, force: bool) -> None:
    """Load something to look around with.

    That is people, clients, messages, articles and mailings, one of which starts within seconds. What is there
    already stays as it is.
    """
    if settings().is_production and not force:
        raise RuleBroken("This is production: the demo's passwords are public. If you mean it, add --force.")
    if if_empty and db.session.scalar(select(User.id).limit(1)) is not None:
        click.echo("There are accounts already: no demo data was loaded.")
        return
    planned = demo.load()
    db.session.commit()
    for mailing in planned:
        jobs.announce(mailing)
    db.session.commit()
    click.echo("The demo is loaded." if planned else "The demo is there already; what was missing of it was added.")
    click.echo(f"Log in at {settings().base_url}/auth/login as\n")
    print_table(
        ("who", "e-mail", "password", "may"),
        [(person.name, person.email, _password_of(person), person.may) for person in demo.PEOPLE],
    )


def _password_of(person: demo.Person) -> str:
    is_demos = passwords.verify_password(account_of(person.email).password_hash, demo.DEMO_PASSWORD)
    return demo.DEMO_PASSWORD if is_demos else "(changed)"


@command("import-clients")
@click.argument("email")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option(
    "--known",
    type=click.Choice([choice.value for choice in KnownClients]),
    default=KnownClients.SKIP.value,
    show_default=True,
    help="What becomes of those who are there already.",
)
def import_clients(email: str, file: Path, known: str) -> None:
    """Add the clients in a file to an address book.

    It is that of the account EMAIL. The file is CSV or a workbook; its first row names the columns, one of which must
    be “email”. Those who are there already stay as they are, unless --known says otherwise.
    """
    owner = account_of(email)
    if not owner.may(Permission.OWN_THINGS):
        raise RuleBroken(f"{owner.email} has the role “{owner.role}”, which comes without an address book.")
    with file.open("rb") as stream:
        made = imports.create(owner, stream, file.name, "en")
    db.session.commit()
    try:
        _take_all(made, KnownClients(known))
        _print_import(made)
        if made.rows == made.bad:
            raise RuleBroken("No client could be read from the file.")
    except RuleBroken:
        db.session.rollback()
        imports.discard(made)
        db.session.commit()
        raise


def _take_all(made: Import, known: KnownClients) -> None:
    """In this process, portion by portion, as the workers do."""
    imports.unpack(made.id)
    db.session.commit()
    if made.status is ImportStatus.FAILED:
        raise RuleBroken(made.fault)
    imports.start_as_guessed(made, known)
    db.session.commit()
    client_jobs.take_rows(made.id, is_over=lambda: False)


def _print_import(made: Import) -> None:
    if made.known is not KnownClients.SKIP:
        click.echo(f"updated: {made.updated}")
    click.echo(f"added: {made.added}\nskipped: {made.skipped} (there already)\nbad: {made.bad}")
    for row in db.session.scalars(imports.bad_rows(made).limit(BAD_ROWS_SHOWN)):
        click.echo(f"  row {row.number}: {row.reason}")
    if made.bad > BAD_ROWS_SHOWN:
        click.echo(f"  and {made.bad - BAD_ROWS_SHOWN} more")
    if made.fault:
        click.echo(made.fault)
