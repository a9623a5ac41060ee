"""Answers made smaller for whoever takes gzip, where their length tells nobody anything."""

import gzip

from flask import Response, request

SHORTEST_COMPRESSED = 500  # bytes; less gains nothing
COMPRESSION = 5  # of 9: the rest takes twice the time for two per cent
OWN_REQUESTS = ("same-origin", "none")  # Sec-Fetch-Site: by a page of ours, or by the reader themself


def compressed(response: Response) -> Response:
    """The response, smaller where its reader takes gzip.

    Only for what holds no secret worth guessing: beside what somebody else chose, its length would tell of it.
    """
    response.vary.add("Accept-Encoding")
    body = response.get_data()
    if len(body) >= SHORTEST_COMPRESSED and request.accept_encodings["gzip"] > 0:
        response.set_data(gzip.compress(body, COMPRESSION, mtime=0))
        response.content_encoding = "gzip"
    return response


def compressed_for_own_request(response: Response) -> Response:
    """A page of whoever is logged in, smaller, when no other site can have asked for it.

    To guess a secret by lengths (BREACH), somebody has to make a reader's browser ask again and again for an address of
    their choice, from a page of theirs. Browsers say where a request comes from, and scripts can't write that header.
    Without it, as over plain HTTP or from an old browser, the page goes as it is.
    """
    is_html = response.mimetype == "text/html" and not response.is_streamed and not response.direct_passthrough
    if is_html and not response.content_encoding and request.headers.get("Sec-Fetch-Site") in OWN_REQUESTS:
        return compressed(response)
    return response
