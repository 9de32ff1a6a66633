"""Commands as their users see them: stdout, stderr and the exit code."""
