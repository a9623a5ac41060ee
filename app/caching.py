"""What pages keep for a while, and who makes them forget it."""


def forget_blog() -> None:
    """Public pages of the blog are made anew at the next visit. To be called after the commit."""
