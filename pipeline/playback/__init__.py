"""Recorded exchanges played again: sent to a provider, or answered to a client."""
