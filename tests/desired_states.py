"""The desired state of a configuration document, read without a database."""

import pytest

from flows.configuration.desired import DesiredState, read_desired
from flows.configuration.faults import ConfigurationInvalid, Faults


def read(document) -> DesiredState:
    faults = Faults()
    desired = read_desired(document, faults)
    faults.raise_if_any()
    return desired


def faults_of(document) -> list[str]:
    with pytest.raises(ConfigurationInvalid) as caught:
        read(document)
    return str(caught.value).splitlines()
