"""What is told to programs that asked for it, signed, in order, until it is heard."""
