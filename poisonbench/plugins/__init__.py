"""Which methods, models and datasets there are: built in, installed, or single files."""
