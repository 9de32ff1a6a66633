"""Processes that tests run: recorders, mitmproxy, programs that break on purpose."""
