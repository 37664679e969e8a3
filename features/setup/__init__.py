"""The first hour with a company's exports: look at them, and propose a mapping with its reasons.

``look`` reads the beginning of each file, ``tables`` says what each is, ``mapping_text`` writes a mapping
that a person can edit, ``questions`` are what ``keepwell init`` asks.
"""

__all__ = ["proposal", "questions"]
