"""Clients that tests send requests with, and what reads their answers."""
