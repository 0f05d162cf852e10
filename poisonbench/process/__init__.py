"""The process itself: device, environment, allocator, threads, garbage collection."""
