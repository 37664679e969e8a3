"""Which rows a lake does not take in: those of another region, and those older than retention allows."""

__all__ = ["horizons", "residency"]
