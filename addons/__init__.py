"""What runs inside mitmproxy.

It needs mitmproxy and the standard library only, so that `mitmproxy -s addons/recorder.py` also records where nothing
can be installed. mitmproxy puts this folder on `sys.path`: the package beside `recorder.py` carries the project's name
because a plain one could shadow somebody else's.
"""
