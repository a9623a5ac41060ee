"""The extensions, unbound: `create_app` binds them, and every module may import them without a circle."""

from flask_babel import Babel
from flask_caching import Cache
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect

from app.database import Base
from app.mail import Mail

db = SQLAlchemy(model_class=Base)
migrate = Migrate(render_as_batch=True, compare_type=True)
login_manager = LoginManager()
csrf = CSRFProtect()
mail = Mail()
cache = Cache()
# While Redis is away each process counts by itself: tries stay limited, and pages open.
limiter = Limiter(
    get_remote_address,
    key_prefix="golub:limit",
    in_memory_fallback_enabled=True,
    swallow_errors=True,
    storage_options={"socket_connect_timeout": 2, "socket_timeout": 2},
)
babel = Babel()
