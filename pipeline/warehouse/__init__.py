"""The database that reports read."""
