"""`tapeline record`: mitmproxy with the recorder in it."""
