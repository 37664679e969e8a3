"""What people see: each page a template and one dataclass of text."""
