"""Home page and blog."""
