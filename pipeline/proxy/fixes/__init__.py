"""Corrections to mitmproxy: traffic that runs through it hangs or loses something without them."""
