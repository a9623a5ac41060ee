"""`python -m app.inbox`: take letters on 127.0.0.1 and show them at /inbox. For development only."""

import asyncio
import os
import sys

from app.config import load_settings
from app.inbox.server import HOST, serve
from app.logs import configure_logs


def main() -> int:
    settings = load_settings()
    if not settings.inbox_enabled:
        print("The inbox is for development without a MAIL_SERVER: nothing to do here.", file=sys.stderr)
        return 1
    configure_logs(settings)
    try:
        asyncio.run(serve(settings))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        print(f"The inbox can't listen on {HOST}:{settings.inbox_port}: {why}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
