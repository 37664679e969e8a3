"""What an account was doing: events, timelines, features, snapshots and health."""
