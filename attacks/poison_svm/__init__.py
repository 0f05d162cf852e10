"""PoisonSVM (Biggio, Nelson & Laskov, 2012)."""
