"""What stands between a method's code and the benchmark: audits, leaks, errors, printed text."""
