"""One file an engine: its types, its connections, its errors."""
