"""What is done to the ticked rows of a list: which they are, the question first, and the list afterwards."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from flask import Response, make_response, request, url_for
from flask_babel import format_number
from flask_babel import gettext as _
from jinja2_fragments.flask import render_block
from sqlalchemy import Select, func
from sqlalchemy.orm import InstrumentedAttribute

from app import web
from app.errors import RuleBroken
from app.extensions import db
from app.undo import Deleted

MOST_TICKED = 5000  # in one form; more are chosen by their filter

Sentence = Callable[[int], str]  # about so many rows


def chosen(query: Select[Any], key: InstrumentedAttribute[int]) -> Select[Any]:
    """Those of `query` that are ticked in the list, or all of it.

    Raises:
        RuleBroken: when nothing is ticked, or too much for one form.
    """
    if request.form.get("all"):
        return query
    ids = {number for number in request.form.getlist("ids", type=int) if 0 < number <= web.LARGEST_ID}
    if not ids:
        raise RuleBroken(_("Tick at least one row first."))
    if len(ids) > MOST_TICKED:
        raise RuleBroken(_("Tick at most %(most)s rows, or choose all that match.", most=format_number(MOST_TICKED)))
    return query.where(key.in_(ids))


def delete(
    which: Select[Any],
    how: Callable[[Select[Any]], Deleted],
    *,
    question: Sentence,
    goes_with: Callable[[Select[Any]], Iterable[str]],
    said: Sentence,
    undo: str,
    show: Callable[[], Response],
    url: str,
) -> Response:
    """Delete the rows of `which` once whoever asked for it is sure; they can be brought back.

    goes_with: sentences about what else is touched.  undo: the address that brings them back.
    show, url: the list that they were in.
    """
    if not request.form.get("sure"):
        count = db.session.scalar(which.with_only_columns(func.count()).order_by(None)) or 0
        return _question(question(count), goes_with(which), back=url)
    deleted = how(which)
    db.session.commit()
    web.flash_undoable(said(deleted.count), undo, at=deleted.moment.isoformat(), back=url)
    return changed_list(show, url, gone=True)


def back_in_list(endpoint: str) -> Response:
    """After rows were brought back: to the page where they were deleted, or else to the endpoint's."""
    return web.redirect_to(web.local_path(request.form.get("back")) or url_for(endpoint))


def changed_list(show: Callable[[], Response], url: str, *, gone: bool = False) -> Response:
    """After something was done to rows of the list that `show` renders, and that stands at `url`.

    gone: the rows are no longer in it; then those that were ticked are taken out, and the reader stays where they are.
    """
    if not web.wants_fragment():
        return web.redirect_to(url)
    if gone and not request.form.get("all"):
        response = make_response(render_block("base.html", "flashes", oob=True))
        response.headers["HX-Reswap"] = "none"
        ids = request.form.getlist("ids", type=int)
        response.headers["HX-Trigger"] = json.dumps({"golub:gone": {"target": "body", "ids": ids}})
        return response
    response = show()
    response.headers["HX-Retarget"], response.headers["HX-Reswap"] = "#list", "innerHTML"
    return response


def _question(question: str, sentences: Iterable[str], *, back: str) -> Response:
    """It sends once more what was sent, this time to be done; a No leads `back`."""
    fields = [(name, value) for name, value in request.form.items(multi=True) if name != "csrf_token"]
    url = request.full_path.rstrip("?")
    return web.render(
        "shell/question.html",
        block="question",
        question=question,
        sentences=list(sentences),
        url=url,
        fields=fields,
        back=back,
        yes=_("Delete"),
    )
