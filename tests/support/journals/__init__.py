"""Exchanges, journals and recordings made up for tests."""
