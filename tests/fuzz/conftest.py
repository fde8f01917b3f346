"""How many inputs are made, and from which seed.

`pytest tests/fuzz` makes the same hundred of each kind every time;
`FUZZ_INPUTS=3000 pytest tests/fuzz --hypothesis-seed 7` makes 3,000 others.
"""

import os

import pytest
from hypothesis import HealthCheck, settings


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile(
        "fuzz",
        max_examples=int(os.environ.get("FUZZ_INPUTS", "100")),
        # No new red test on somebody's machine by chance: new inputs are asked for.
        derandomize=config.getoption("hypothesis_seed", None) is None,
        database=None,
        deadline=None,  # a slow machine is no failure; `watched` has a limit of its own
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("fuzz")
