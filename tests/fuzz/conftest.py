"""Sets the number and the seed of the generated inputs.

`pytest tests/fuzz` generates the same hundred of each kind every time;
`FUZZ_INPUTS=3000 pytest tests/fuzz --hypothesis-seed 7` generates 3,000 others.
"""

import os

import pytest
from hypothesis import HealthCheck, settings


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile(
        "fuzz",
        max_examples=int(os.environ.get("FUZZ_INPUTS", "100")),
        # No new failure by chance: new inputs only on request.
        derandomize=config.getoption("hypothesis_seed", None) is None,
        database=None,
        deadline=None,  # a slow machine is not a failure; `watched` has a limit of its own
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("fuzz")
