"""Reports: what they are, how they run and how they look."""
