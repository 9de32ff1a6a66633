"""What recording costs under load, and what it does on a full disk: `make stress` prints the figures."""
