"""Events, timelines, features, snapshots and health of accounts."""
