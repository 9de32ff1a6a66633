"""Clients and servers that nobody here wrote: SDKs, browsers, curl, LiteLLM, llama.cpp."""
