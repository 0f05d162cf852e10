"""Settings with which the built-in methods are checked fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ATTACKS: Mapping[str, Mapping[str, Any]] = {
    "back-gradient": {"T": 5, "iterations": 3},
    "emn": {"M": 3, "steps": 3, "max_rounds": 3, "stop_error": 0.0},
    "gradient-canceling": {"strengths": [0.1, 1.0], "target_steps": 4, "steps": 3},
    "gradient-matching": {"steps": 4, "restarts": 2},
    "i-min-max": {"steps": 2, "quantiles": [0.5], "repetitions": [1, 4], "decoy_epochs": 2, "tau": 2.8},
    "influence-attack": {"steps": 3, "retraining": 5, "max_steps": 5},
    "kkt": {"steps": 4, "rounds": 2, "quantiles": [0.5], "repetitions": [1, 4], "decoy_epochs": 2},
    "metapoison": {"steps": 3, "M": 3, "epochs": 3},
    "min-max": {"steps": 4},
    "model-targeted": {"copies": 3, "quantiles": [0.5], "repetitions": [1, 4], "decoy_epochs": 2},
    "pgan": {"steps": 6, "batch_size": 16, "latent": 8},
    "poison-svm": {"iterations": 4},
    "rem": {"epochs": 1, "steps": 3, "adversary_steps": 2, "batch_size": 16},
    "tap": {"steps": 4, "restarts": 2},
    "tgda": {"epochs": 2, "pretrain_epochs": 2, "n": 2, "max_steps": 4},
}

DEFENSES: Mapping[str, Mapping[str, Any]] = {
    "dpa": {"k": 3},
    "finite-aggregation": {"k": 3, "d": 2},
    "friendly-noise": {"warmup": 1, "steps": 5},
}

GAMES: Mapping[str, Mapping[str, Any]] = {"poison-svm": {"model": "svm", "classes": 2}}
"""Fields of the game for the methods that the usual one does not suit."""
