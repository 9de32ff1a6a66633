"""Servers that nobody here wrote, recorded through a real recorder. `make test-real` installs and runs them."""
