"""Imports exchanges that other programs recorded, so that they can be measured like recorded ones.

`mitmproxy_flows` and `har` read one kind of file each and make `imported_exchange` values; `import_file` writes these
into a journal, as the recorder does. From there on, imported and recorded exchanges take the same path.
"""
