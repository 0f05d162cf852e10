"""Numbers with any axes as tables of texts."""
