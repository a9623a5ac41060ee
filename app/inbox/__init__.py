"""The local inbox of development: takes every letter, shows it at /inbox, sends nothing on."""
