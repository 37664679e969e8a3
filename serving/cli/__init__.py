"""The commands of this package, a file a subject; `keepwell.py` lists them all."""
