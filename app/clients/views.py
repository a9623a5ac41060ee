from flask import Blueprint

import app.clients.models
blueprint = Blueprint("clients", __name__, url_prefix="/clients")
