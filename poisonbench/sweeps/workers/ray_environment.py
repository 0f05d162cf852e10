"""What Ray reads from the environment as it is imported. Nothing here imports it."""

from __future__ import annotations

import os

_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what a cluster says of its troubles would go to standard output, amid JSON
    "RAY_gcs_server_port_wait_time_s": "3",  # tries to join; without it 20, a second each, at a wrong token too
}


def quiet_ray() -> None:
    """Have Ray, once imported, print nothing and give up soon; what the user has set stays as it is."""
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
