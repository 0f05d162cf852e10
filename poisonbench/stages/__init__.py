"""Long computations: what one is handed, how it is saved and resumed, and how finished ones are cached."""
