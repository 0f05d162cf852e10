"""Per-sample gradients of a model, without the matrix of them."""
