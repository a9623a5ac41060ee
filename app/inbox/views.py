from flask import Blueprint

blueprint = Blueprint("inbox", __name__, url_prefix="/inbox")
