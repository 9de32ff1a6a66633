"""One module at a time, in the folders of the code."""
