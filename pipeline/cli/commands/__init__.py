"""The commands of `tapeline`, a module each. Below this folder nobody knows click."""
