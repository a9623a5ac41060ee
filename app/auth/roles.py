"""Who may do what: one table. `access.requires` guards views by it, and tests/test_walls.py walks every route."""

from enum import StrEnum


class Role(StrEnum):
    USER = "user"
    MANAGER = "manager"
    EDITOR = "editor"  # content manager
    ADMIN = "admin"


class Permission(StrEnum):
    """One line of the table."""

    OWN_THINGS = "own_things"  # have clients, messages and mailings: create, edit, delete, start, pause
    SEE_LIBRARY = "see_library"  # look into the common library of messages
    SEE_OTHERS = "see_others"  # look at others' clients, mailings, runs and attempts
    EDIT_OTHERS = "edit_others"  # change and delete them
    DISABLE_MAILINGS = "disable_mailings"  # and enable them again
    BLOCK_USERS = "block_users"  # list users, block and unblock them
    ASSIGN_ROLES = "assign_roles"
    RUN_BLOG = "run_blog"
    SEE_LOG = "see_log"  # all attempts of the service
    SEE_ADDRESSES = "see_addresses"  # others' addresses there in full
    SEE_AUDIT = "see_audit"  # everybody's entries; one's own are open to whoever is logged in


PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.USER: frozenset({Permission.OWN_THINGS, Permission.SEE_LIBRARY, Permission.SEE_LOG}),
    Role.MANAGER: frozenset(
        {
            Permission.SEE_LIBRARY,
            Permission.SEE_OTHERS,
            Permission.DISABLE_MAILINGS,
            Permission.BLOCK_USERS,
            Permission.SEE_LOG,
            Permission.SEE_ADDRESSES,
            Permission.SEE_AUDIT,
        }
    ),
    Role.EDITOR: frozenset({Permission.RUN_BLOG}),
    Role.ADMIN: frozenset(Permission),
}
