"""OpenAI chat completions, and the dialects of it that other providers speak."""
