"""One captured exchange becomes one row."""
