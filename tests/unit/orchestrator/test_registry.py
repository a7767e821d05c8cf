"""The registry accepts what can be started, orders it, and says clearly what cannot be."""

from __future__ import annotations

import pytest

from somaagent.embedded.launch import Command
from somaagent.orchestrator.registry import RegistryError, RestartPolicy, Service, ServiceRegistry


class AlwaysWell:
    def check(self, pid: int | None) -> None:
        return None


def command() -> Command:
    raise AssertionError("Nothing is started here.")


def service(name: str, *depends_on: str, critical: bool = True) -> Service:
    return Service(name=name, depends_on=depends_on, critical=critical, command=command)


def test_services_are_ordered_after_what_they_depend_on_whatever_the_order_of_declaration():
    registry = ServiceRegistry(
        [
            service("gateway", "migrations", "valkey"),
            service("migrations", "postgres"),
            service("valkey"),
            service("postgres"),
        ]
    )

    order = [one.name for one in registry]
    assert order.index("postgres") < order.index("migrations") < order.index("gateway")
    assert order.index("valkey") < order.index("gateway")
    assert registry.dependents("postgres") == ("migrations",)
    assert set(registry.dependents("valkey")) == {"gateway"}
    assert "gateway" in registry
    assert registry["gateway"].kind == "long-running"


def test_an_unknown_dependency_is_named_with_those_that_are_known():
    with pytest.raises(
        RegistryError,
        match=r"'gateway' depends on 'postgress', which is not declared. Declared: gateway, postgres",
    ):
        ServiceRegistry([service("gateway", "postgress"), service("postgres")])


def test_a_circle_is_shown_as_one():
    with pytest.raises(RegistryError, match="in a circle: ") as caught:
        ServiceRegistry([service("a", "c"), service("b", "a"), service("c", "b")])
    names = str(caught.value).partition("circle: ")[2].rstrip(".").split(" -> ")
    assert names[0] == names[-1]
    assert set(names) == {"a", "b", "c"}


def test_a_service_that_depends_on_itself_is_a_circle_too():
    with pytest.raises(RegistryError, match="a -> a"):
        ServiceRegistry([service("a", "a")])


def test_two_services_of_one_name_are_refused():
    with pytest.raises(RegistryError, match="Two services are named 'valkey'"):
        ServiceRegistry([service("valkey"), service("valkey")])


def test_a_critical_service_cannot_depend_on_one_that_is_not():
    with pytest.raises(RegistryError, match="'gateway' is critical but depends on 'model', which is not"):
        ServiceRegistry([service("model", critical=False), service("gateway", "model")])


def test_an_external_service_needs_an_adapter_and_cannot_be_run_once():
    with pytest.raises(RegistryError, match="neither a command nor a health adapter"):
        ServiceRegistry([Service(name="postgres")])
    with pytest.raises(RegistryError, match="one-shot but has no command"):
        ServiceRegistry([Service(name="seed", one_shot=True, health=AlwaysWell())])
    assert Service(name="postgres", health=AlwaysWell()).kind == "external"


def test_restarts_back_off_up_to_a_limit():
    policy = RestartPolicy(first_delay=0.5, longest_delay=4.0)
    assert [policy.delay(deaths) for deaths in (1, 2, 3, 4, 5, 60)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
