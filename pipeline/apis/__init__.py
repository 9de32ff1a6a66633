"""What each provider API says: bytes in, values out."""
