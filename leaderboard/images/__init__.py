"""Pictures of poisoned points."""
