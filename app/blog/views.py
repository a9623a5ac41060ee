from flask import Blueprint

import app.blog.models
blueprint = Blueprint("blog", __name__)
