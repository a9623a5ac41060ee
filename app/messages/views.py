from flask import Blueprint

import app.messages.models

blueprint = Blueprint("messages", __name__, url_prefix="/messages")
