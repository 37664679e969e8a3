"""Write the scores of all accounts with their reasons to one file, in bounded memory.

On this machine or on Spark.
"""

__all__ = ["scores_file", "spark"]
