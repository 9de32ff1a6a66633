"""The Parquet files: their columns and how they are written."""
