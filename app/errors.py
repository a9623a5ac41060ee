"""What the domain raises. `web.py` maps each to a status, `cli/` to a line and an exit code."""


class GolubError(Exception):
    """Its text is a translated sentence for the person who asked."""


class RuleBroken(GolubError):
    """The request makes sense, but the state of things forbids it (409)."""


class NotAllowed(GolubError):
    """This person may not do that (403)."""


class NotFound(GolubError):
    """There is no such thing, or it is somebody else's, which is the same to the asker (404)."""
