"""Versions of messages, and the preview text on its way into the letter."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from app import clock
from app.extensions import db
from app.mailings import jobs
from app.mailings import service as mailings
from app.messages import preview, queries, service
from app.messages.content import BadContent
from app.messages.models import Message, MessageVersion
from app.messages.service import MessageData
from tests import make


def versions(message: Message) -> list[MessageVersion]:
    return list(db.session.scalars(queries.versions_of(message)))


def write(owner, **fields) -> Message:
    return service.create(owner, MessageData(**({"subject": "First", "html": "<p>First</p>"} | fields)))


def test_each_save_that_changes_something_is_kept(context, owner):
    message = write(owner)
    service.edit(message, MessageData("Second", "<p>First</p>", preheader="Look"), owner)
    service.edit(message, MessageData("Second", "<p>First</p>", preheader="Look", is_shared=True), owner)
    newest, oldest = versions(message)
    assert (newest.subject, newest.preheader, newest.by_id) == ("Second", "Look", owner.id)
    assert (oldest.subject, oldest.html) == ("First", "<p>First</p>")
    assert service.changes_between(message) == {newest.id: ["subject", "preheader"], oldest.id: []}


def test_a_message_older_than_versions_is_not_lost_by_its_first_edit(context, owner):
    yesterday = clock.now() - timedelta(days=1)
    message = make.message(owner, subject="Old", updated_at=yesterday)
    service.edit(message, MessageData("New", "<p>New</p>"), owner)
    newest, oldest = versions(message)
    assert (newest.subject, oldest.subject) == ("New", "Old")
    assert oldest.at == yesterday


def test_restoring_makes_a_new_version(context, owner, stranger):
    message = write(owner, text="Mine", preheader="Look")
    service.edit(message, MessageData("Second", "<p>2</p>", is_shared=True), owner)
    service.restore(message, versions(message)[-1], stranger)
    assert (message.subject, message.text, message.preheader, message.is_shared) == ("First", "Mine", "Look", True)
    assert [version.subject for version in versions(message)] == ["First", "Second", "First"]
    assert versions(message)[0].by_id == stranger.id


def test_the_newest_fifty_are_kept(context, owner):
    message, other = write(owner), write(owner)
    for number in range(service.VERSIONS_KEPT + 5):
        service.edit(message, MessageData(f"No. {number}", "<p>x</p>"), owner)
    kept = versions(message)
    assert len(kept) == service.VERSIONS_KEPT
    assert (kept[0].subject, kept[-1].subject) == ("No. 54", "No. 5")
    assert len(versions(other)) == 1


def test_versions_go_with_their_message(context, owner):
    message = write(owner)
    db.session.delete(message)
    db.session.flush()
    assert db.session.scalar(select(func.count()).select_from(MessageVersion)) == 0


@pytest.mark.parametrize("text", ["two\nlines", "x" * 201, "{{ nobody }}"])
def test_a_preview_text_is_one_short_line(context, owner, text):
    with pytest.raises(BadContent):
        write(owner, preheader=text)


def test_a_run_freezes_the_preview_text_hidden_and_escaped(context, owner):
    written = 'A <b> & "c" for {{ first_name | default: "friend" }}'
    message = write(owner, preheader=written)
    run = mailings.start_now(make.mailing(owner, message=message))
    in_sql = db.session.scalar(select(Message.letter_html).where(Message.id == message.id))
    assert run.html == in_sql == message.letter_html
    assert 'A &lt;b&gt; &amp; "c" for {{ first_name | default: "friend" }}&zwnj;&nbsp;&zwnj;' in run.html
    assert run.html.endswith("&zwnj;&nbsp;</div><p>First</p>"), (
        "nothing of the letter follows it in the list of letters"
    )
    assert run.html.startswith('<div style="display:none')
    db.session.commit()
    jobs.prepare_runs()
    assert run.text == "First", "it is no part of what is read"


def test_without_a_preview_text_the_letter_is_as_it_was(context, owner):
    message = write(owner, preheader=" \u200b ")
    assert message.preheader == ""
    assert message.letter_html == message.html
    assert db.session.scalar(select(Message.letter_html).where(Message.id == message.id)) == message.html


def test_a_copy_has_the_preview_text(context, owner, stranger):
    assert service.copy(write(owner, preheader="Look"), stranger).preheader == "Look"


def test_a_letter_is_filled_in_for_a_client_and_leads_out(context, owner):
    client = make.client(owner, first_name="Bo <b>", birth_year=None, attributes={"city": "Riga"})
    message = write(
        owner,
        subject="For {{ first_name }}",
        html='<p>{{ first_name }}, {{ attributes.city }}, {{ birth_year | default: "young" }} {{ attributes.dog }}</p>',
    )
    letter = preview.letter_for(message, preview.reader_of(client, "https://out.example"))
    assert letter.subject == "For Bo <b>"
    assert "<p>Bo &lt;b&gt;, Riga, young </p>" in letter.html
    assert '<a href="https://out.example">Unsubscribe</a>' in letter.html
    assert letter.text.endswith("Unsubscribe: https://out.example")
    own = preview.letter_for(write(owner, html="<a href='{{ unsubscribe_url }}'>Out</a>"), preview.reader_of(None))
    assert "Unsubscribe" not in own.html
