"""The reports: one SQL file each, found by name. The comment at a file's head is its help."""
