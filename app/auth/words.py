"""Words for people: roles, what the audit log notes, devices."""

from functools import lru_cache

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import lazy_pgettext
from flask_babel.speaklater import LazyString
from ua_parser import parse

from app.auth.models import Action
from app.auth.roles import Role

ROLE_LABELS: dict[Role, LazyString] = {
    Role.USER: lazy_pgettext("role", "User"),
    Role.MANAGER: lazy_pgettext("role", "Manager"),
    Role.EDITOR: lazy_pgettext("role", "Content manager"),
    Role.ADMIN: lazy_pgettext("role", "Administrator"),
}
ACTION_LABELS: dict[Action, LazyString] = {
    Action.REGISTERED: _l("Signed up"),
    Action.VERIFIED: _l("Confirmed the address"),
    Action.LOGGED_IN: _l("Logged in"),
    Action.LOGIN_FAILED: _l("Log-in failed"),
    Action.LOGGED_OUT: _l("Logged out"),
    Action.LOGINS_ENDED: _l("Logged devices out"),
    Action.PASSWORD_RESET: _l("Chose a new password by letter"),
    Action.PASSWORD_CHANGED: _l("Changed the password"),
    Action.EMAIL_CHANGED: _l("Changed the e-mail address"),
    Action.FACTOR_ON: _l("Switched the second factor on"),
    Action.FACTOR_OFF: _l("Switched the second factor off"),
    Action.CODES_RENEWED: _l("Made new recovery codes"),
    Action.CODE_USED: _l("Used a recovery code"),
    Action.ROLE_CHANGED: _l("Changed the role"),
    Action.BLOCKED: _l("Blocked the account"),
    Action.UNBLOCKED: _l("Unblocked the account"),
    Action.MAILING_DISABLED: _l("Disabled a mailing"),
    Action.MAILING_ENABLED: _l("Enabled a mailing"),
    Action.POST_PUBLISHED: _l("Published an article"),
    Action.POST_UNPUBLISHED: _l("Took an article back"),
    Action.DELETED: _l("Deleted"),
    Action.RESTORED: _l("Brought back what was deleted"),
    Action.EXPORTED: _l("Exported all data"),
    Action.CALENDAR_ADDRESS: _l("Gave the calendar a new address"),
    Action.CALENDAR_OFF: _l("Switched the calendar's address off"),
    Action.ACCOUNT_CLOSED: _l("Closed the account"),
    Action.ACCOUNT_RESTORED: _l("Opened the account again"),
    Action.ACCOUNT_ERASED: _l("Erased the account"),
}


@lru_cache(maxsize=1000)
def _browser_and_system(user_agent: str) -> tuple[str, str]:
    found = parse(user_agent)
    browser = found.user_agent.family if found.user_agent else ""
    return browser, found.os.family if found.os else ""


def device_name(user_agent: str) -> str:
    """A browser's User-Agent in two words, such as “Firefox on Linux”."""
    browser, system = _browser_and_system(user_agent)
    if browser and system:
        return _("%(browser)s on %(system)s", browser=browser, system=system)
    return browser or system or _("Unknown device")
