"""Exchanges in forms that other programs read, a module a form.

`selection` gives the exchanges whole, a few at a time; what a form has no use for is left out and counted, never
changed into something else.
"""
