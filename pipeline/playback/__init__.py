"""Plays recorded exchanges again: sends their requests to a provider, or their responses to a client."""
