"""Events as they became known: which version of an event is visible as of a moment."""
