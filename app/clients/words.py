"""Words for what the address book stores."""

from flask_babel import lazy_gettext as _l

from app.clients.models import ClientStatus

STATUS_LABELS = {
    ClientStatus.ACTIVE: _l("active"),
    ClientStatus.UNSUBSCRIBED: _l("unsubscribed"),
    ClientStatus.BOUNCED: _l("bounced"),
    ClientStatus.COMPLAINED: _l("complained"),
}
