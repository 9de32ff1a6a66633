"""The forms that a comparison can be put out in, by name; each is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from .result import Result


def put_in_form(name: str, result: Result) -> str:
    """A comparison as text in this form."""
    writer: Callable[[Result], str] = getattr(import_module(f".as_{name}", __package__), f"as_{name}")
    return writer(result)
