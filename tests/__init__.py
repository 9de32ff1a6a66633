"""Tests with real parts: real processes, sockets and files. Only the provider is ours, and it is a real server."""
