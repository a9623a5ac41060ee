"""Accounts: who somebody is, and how they get in."""
