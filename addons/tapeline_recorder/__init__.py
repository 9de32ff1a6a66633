"""What runs inside mitmproxy: it takes exchanges down as they pass. Standard library and mitmproxy alone."""
