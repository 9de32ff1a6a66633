"""The APIs of providers: what their bytes mean. Bytes and values in, values and bytes out."""
