"""Released protocols as YAML, never edited once released, only superseded."""
