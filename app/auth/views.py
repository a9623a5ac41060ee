from flask import Blueprint

import app.auth.models

blueprint = Blueprint("auth", __name__, url_prefix="/auth")
