"""Gradient canceling (Lu, Kamath & Yu, ICML 2023)."""
