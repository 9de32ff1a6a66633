"""Measurements side by side: each ratio compares two programs that ran in turns within the same minute."""
