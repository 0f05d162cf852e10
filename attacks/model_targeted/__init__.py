"""Model-targeted poisoning (Suya, Mahloujifar, Suri, Evans & Tian, 2021)."""
