"""What was recommended, who carried it out and what came of it, kept for good."""
