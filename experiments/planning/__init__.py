"""This package is about capacity: which accounts get which actions this week, with whose hours."""
