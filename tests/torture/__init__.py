"""Kills a recorder that works, again and again, and compares what is left with what its clients wrote down."""
