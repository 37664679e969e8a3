"""What our actions cause, and which to recommend."""
