"""What messages are, below HTTP."""

import pytest

from app.extensions import db
from app.messages import queries, service
from app.messages.content import BadContent
from app.messages.service import MessageData
from tests import make


def test_it_refuses_what_no_letter_can_be_whoever_asks(context, owner):
    for data in (
        MessageData("", "<p>x"),
        MessageData("x", ""),
        MessageData("a\nb", "<p>x"),
        MessageData("x", "<script>"),
    ):
        with pytest.raises(BadContent):
            service.create(owner, data)


def test_it_stores_clean_html(context, owner):
    message = service.create(owner, MessageData(" Hi ", "<p onclick=x>Hi", text="\nHi\n", is_shared=True))
    assert (message.subject, message.html, message.text, message.is_shared) == ("Hi", "<p>Hi</p>", "Hi", True)
    assert message.owner_id == owner.id


def test_saving_what_was_saved_changes_nothing(context, owner):
    html = "<table><tr><td style=\"font: 12px/1.5 'Segoe UI'; color:RED\">a &amp; b<p>c<b>d</p>e"
    message = service.create(owner, MessageData("Hi", html))
    saved = message.html
    service.edit(message, MessageData(message.subject, saved, message.text))
    assert message.html == saved


def test_a_copy_lives_by_itself(context, owner, stranger):
    message = service.create(owner, MessageData("Hi", "<p>Hi", text="Hi", is_shared=True))
    copy = service.copy(message, stranger)
    service.edit(message, MessageData("Other", "<p>Other"))
    assert (copy.owner_id, copy.subject, copy.html, copy.text) == (stranger.id, "Hi", "<p>Hi</p>", "Hi")
    assert not copy.is_shared


def test_people_use_their_own_and_the_shared(context, owner, stranger):
    own = make.message(owner)
    theirs = make.message(stranger)
    shared = make.message(stranger, is_shared=True)
    gone = make.message(stranger, is_shared=True)
    service.delete(gone)

    def ids(query):
        return set(db.session.scalars(query.with_only_columns(queries.Message.id)))

    assert ids(queries.owned_by(owner)) == {own.id}
    assert ids(queries.owned_by(stranger)) == {theirs.id, shared.id}
    assert ids(queries.library()) == {shared.id}
    assert ids(queries.usable_by(owner)) == {own.id, shared.id}


def test_a_list_reads_no_bodies(context, owner):
    make.message(owner)
    db.session.flush()
    db.session.expire_all()
    (message,) = db.session.scalars(queries.for_list(queries.owned_by(owner)))
    assert "html" not in message.__dict__
    assert "owner" in message.__dict__
