"""The paper's tables and figures, filled in with our numbers."""
