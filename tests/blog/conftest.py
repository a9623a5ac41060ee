from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from app import caching, clock
from app.blog.models import Post
from app.extensions import db


@pytest.fixture
def write_post(app: Flask) -> Callable[..., int]:
    """A function that stores an article, published an hour ago unless told otherwise, and gives its id."""

    def write(slug: str, **fields: Any) -> int:
        fields = {
            "title": f"About {slug}",
            "summary": f"All on {slug}",
            "html": f"<p>Words on {slug}</p>",
            "published_at": clock.now() - timedelta(hours=1),
        } | fields
        with app.app_context():
            post = Post(slug=slug, **fields)
            db.session.add(post)
            db.session.commit()
            caching.forget_blog()
            return post.id

    return write
