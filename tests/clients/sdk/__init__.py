"""The official SDKs as client programs: what they ask, how they are run, and where they read a stream otherwise."""
