"""Traffic through a real recorder."""
