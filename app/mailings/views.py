from flask import Blueprint

import app.mailings.models
import app.delivery.models
blueprint = Blueprint("mailings", __name__)
