"""Reports: read run folders, and nothing else, and turn them into CSV files and tables."""
