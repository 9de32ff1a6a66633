"""Bytes and text before an API gives them a meaning: nothing here opens a file or socket, or asks a clock."""
