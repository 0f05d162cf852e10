"""Results as runs of an experiment tracker that somebody uses already: MLflow, Weights & Biases."""
