"""Values of the installation in a configuration document: their names alone."""

import pytest

from flows.configuration import export_configuration, import_configuration
from scripts.models import ConfigurationValue
from tests.integration.configuration_imports import faults_of

pytestmark = pytest.mark.django_db


def test_an_export_has_the_names_of_values_and_not_what_they_are() -> None:
    without = export_configuration()
    ConfigurationValue.objects.create(name="shop.url", value="https://shop.example")
    ConfigurationValue.objects.create(name="limit", value="12")

    exported = export_configuration()

    assert "config" not in without
    assert exported["config"] == ["limit", "shop.url"]
    assert "shop.example" not in str(exported)


def test_an_import_names_values_that_are_not_entered_and_changes_none() -> None:
    ConfigurationValue.objects.create(name="limit", value="12")

    changes = import_configuration({"queues": [], "config": ["limit", "shop.url"]}, prune=True)

    assert changes.warnings == ['config: the value "shop.url" has not been entered here']
    assert ConfigurationValue.objects.get().value == "12"


def test_what_is_no_name_is_a_fault_with_its_place() -> None:
    assert faults_of({"config": ["limit", 5]}) == ["config[1]: must be the name of a value"]
    assert faults_of({"config": {"limit": "12"}}) == ["config: must be a list, not an object"]
