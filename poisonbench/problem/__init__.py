"""The problem in types: samples, budgets, threat models, and the views that enforce who knows what."""
