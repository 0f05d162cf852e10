"""The result store: records in a database, tensors as content-addressed safetensors, plain JSON for exchange."""
