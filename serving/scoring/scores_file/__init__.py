"""scores_file."""
