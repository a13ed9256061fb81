"""What benchmarks need of Omniglot."""

import pytest


@pytest.fixture(scope="session")
def omniglot_at_hand() -> bool:
    from metabench.tasks import omniglot  # not above: the plug-in looks at the environment before torch is imported

    return omniglot.available(None)


@pytest.fixture(autouse=True)
def data_at_hand(request: pytest.FixtureRequest, omniglot_at_hand: bool) -> None:
    if "omniglot" in request.node.name and not omniglot_at_hand:
        pytest.skip("Omniglot is not at hand: set METABENCH_DATA, or run `metabench data prepare`")
