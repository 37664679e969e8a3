"""Keep model versions, aliases and runs: the store's protocol and its form on MLflow.

The only home of MLflow.
"""

__all__ = ["approval", "mlflow", "open_store", "pending_uploads", "pyfunc", "store"]
