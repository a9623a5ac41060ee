"""Pictures of letters, for whoever opens one: mail programs have no account, and ask for years."""

from flask import Blueprint, Response, request
from flask_babel import gettext as _

from app.errors import NotFound
from app.extensions import db
from app.pictures import queries
from app.pictures.models import PictureFormat

FOREVER = "public, max-age=31536000, immutable"  # a picture's address is of that picture alone
MIME_TYPES = {PictureFormat.WEBP: "image/webp", PictureFormat.JPEG: "image/jpeg", PictureFormat.PNG: "image/png"}

blueprint = Blueprint("pictures", __name__)


@blueprint.get("/pictures/<key>.<any(jpg, png):ending>")
def show_picture(key: str, ending: str) -> Response:
    return served(key, PictureFormat(ending))


def served(key: str, picture_format: PictureFormat, width: int | None = None) -> Response:
    """The picture, open to everybody: whoever knows the address was given it.

    Raises:
        NotFound
    """
    image = db.session.scalar(queries.image(key, picture_format, width))
    if image is None:
        raise NotFound(_("There is no such picture."))
    response = Response(image, mimetype=MIME_TYPES[picture_format])
    response.headers["Cache-Control"] = FOREVER
    response.set_etag(f"{key}-{width or picture_format}")
    response.make_conditional(request)
    return response
