"""The recording side: what runs inside mitmproxy.

Everything here needs mitmproxy and the standard library only, so that `mitmproxy -s addons/recorder.py` also
records where nothing can be installed. `recorder.py` holds the hooks; `tapeline_privacy.py` decides which
headers may be kept; `tapeline_journal.py` owns the journal's file format and writes it. The modules beside the
recorder carry the project's name because mitmproxy puts this folder on `sys.path`, where a plain name could
shadow somebody else's module.
"""
