"""The address book: clients, tags, segments, import."""
