"""poisonbench: indiscriminate data poisoning under one fixed protocol."""

__version__ = "0.1.0"
