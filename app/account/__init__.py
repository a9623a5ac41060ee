"""One's own account: profile, security, what one did, one's data."""
