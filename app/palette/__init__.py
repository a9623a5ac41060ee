"""The command palette: from anywhere to any client, message, mailing, segment, article, user, page or action."""
