"""Messages: what is written once and sent many times. Owners may share theirs into the common library."""
