"""From the journal to the dataset."""
