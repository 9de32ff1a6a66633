"""Servers that tests answer with."""
