"""Golub, a mailing manager. `create_app` is the only place where its parts are wired together."""

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from app.config import ROOT, Settings, load_settings


def create_app(settings: Settings | None = None) -> Flask:
    """The application with these settings, or with those of the environment.

    Raises:
        SettingsError: when a setting is missing or bad.
    """
    from app import cli, logs, statics, web  # noqa: PLC0415  importing app.config must not load the whole house
    from app.database import tame_sqlite  # noqa: PLC0415
    from app.extensions import babel, cache, csrf, db, limiter, login_manager, mail, migrate  # noqa: PLC0415

    settings = settings or load_settings()
    logs.configure_logs(settings)
    settings.instance_path.mkdir(parents=True, exist_ok=True)
    app = Flask("app", instance_path=str(settings.instance_path), root_path=str(ROOT / "app"))
    app.config.update(settings.for_flask())

    db.init_app(app)
    migrate.init_app(app, db, directory=str(ROOT / "migrations"))
    login_manager.init_app(app)
    csrf.init_app(app)
    mail.init_app(app)
    cache.init_app(app)
    limiter.init_app(app)
    babel.init_app(app, locale_selector=web.locale, timezone_selector=web.time_zone)
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            tame_sqlite(db.engine)

    statics.init_app(app, settings, web.security_headers(settings))
    if settings.trusted_proxies:
        # Without a proxy whoever asks could write these headers, and with them where they come from.
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=settings.trusted_proxies, x_proto=settings.trusted_proxies
        )
    web.init_app(app, settings)
    _register_blueprints(app, settings)
    cli.init_app(app)
    return app


def _register_blueprints(app: Flask, settings: Settings) -> None:
    from app import health  # noqa: PLC0415
    from app.account import views as account  # noqa: PLC0415
    from app.auth import views as auth  # noqa: PLC0415
    from app.blog import panel as blog  # noqa: PLC0415  views and panel are one blueprint
    from app.clients import bulk_views, import_views, segment_views  # noqa: PLC0415  one blueprint
    from app.mailings import (  # noqa: PLC0415
        calendar_views,
        client_history_views,
        compose_views,
        list_views,
        log_views,
        run_views,
        segment_conditions,
    )
    from app.manager import views as manager  # noqa: PLC0415
    from app.messages import bulk_views as message_lists  # noqa: PLC0415  one blueprint
    from app.messages import desk_views as message_desk  # noqa: PLC0415
    from app.palette import views as palette  # noqa: PLC0415
    from app.pictures import views as pictures  # noqa: PLC0415

    segment_conditions.init()
    of_clients = (bulk_views, import_views, segment_views)
    of_mailings = (calendar_views, client_history_views, compose_views, list_views, log_views, run_views)
    modules = (
        health,
        auth,
        account,
        pictures,
        blog,
        *of_clients,
        message_lists,
        message_desk,
        *of_mailings,
        manager,
        palette,
    )
    for blueprint in dict.fromkeys(module.blueprint for module in modules):
        app.register_blueprint(blueprint)
    if settings.inbox_enabled:
        from app.inbox import views as inbox  # noqa: PLC0415  needs what production does not install

        app.register_blueprint(inbox.blueprint)
