"""Measurements side by side: each figure is a ratio of two things that ran by turns in the same minute."""
