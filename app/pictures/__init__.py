"""Pictures that people upload, for articles and for letters: drawn anew, kept in the database, served to everybody."""
