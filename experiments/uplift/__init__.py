"""What each action causes, against doing nothing: for everybody, by segment, by account."""
