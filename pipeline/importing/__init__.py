"""Exchanges that others have recorded, taken in so that they can be measured.

`mitm` and `har` read a file each kind, `arrival` is what both make of it, `intake` writes it into a journal as the
recorder does: from there on all is as with traffic of one's own.
"""
