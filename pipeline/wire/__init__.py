"""Bytes and text before any API gives them a meaning: no file, no clock, no socket."""
