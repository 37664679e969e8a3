"""A simulated company with known truth: for tests, demonstrations and nothing else."""
