"""What the two compose files promise: valid, closed, small in rights, started in an order that works."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from compose_spec import PyCompose

from settings.registry import REGISTRY, Mode
from tests.unit.infra.conftest import ERRANDS, INFRA, OURS, SERVERS, STACKS, Stack

EXPECTED_DIFFERENCES = {"name", "image", "port", "memory", "dockerfile"}
PUBLIC_IMAGE = re.compile(r"[a-z]+/[a-z]+:\d+\.\d+\.\d+(-[a-z0-9]+)?")


def test_the_files_follow_the_compose_specification(stack: Stack) -> None:
    parsed = PyCompose.from_json(json.dumps(stack.compose))
    parsed.validate()  # networks, volumes, secrets and configs that are used are declared
    parsed.to_spec()
    assert set(parsed.service_names()) == OURS | SERVERS | ERRANDS


def test_a_misspelt_key_would_be_refused(stack: Stack) -> None:
    broken = stack.compose
    broken["services"]["gateway"]["helthcheck"] = {}
    with pytest.raises(ValueError, match="helthcheck"):
        PyCompose.from_json(json.dumps(broken))


def test_volumes_and_networks_are_declared_and_each_is_used(stack: Stack) -> None:
    mounts = [volume for service in stack.services.values() for volume in service.get("volumes", [])]
    named = {source_of(volume) for volume in mounts if not source_of(volume).startswith(".")}
    assert named == set(stack.compose["volumes"])
    networks = {network for service in stack.services.values() for network in service.get("networks", [])}
    assert networks == set(stack.compose["networks"])


def test_every_service_of_ours_is_started_by_the_orchestrator_and_by_nothing_else(stack: Stack) -> None:
    for name in OURS:
        service = stack.services[name]
        assert service["command"] == ["--only", name]
        assert "entrypoint" not in service, f"{name} goes round the image's entry point"


def test_every_service_is_hardened(stack: Stack) -> None:
    for name, service in stack.services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "privileged" not in service, name
        assert service["init"] is True, name
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        assert service["logging"]["options"].keys() >= {"max-size", "max-file"}, name


def test_one_errand_alone_is_root_and_it_reaches_no_network(stack: Stack) -> None:
    root = {name for name, service in stack.services.items() if service["user"].startswith("0:")}
    assert root == {"deliver"}
    assert {name for name, service in stack.services.items() if "cap_add" in service} == {"deliver"}
    assert stack.services["deliver"]["network_mode"] == "none"


def test_only_the_gateway_is_published_in_the_mode_s_range_and_on_this_machine_alone(stack: Stack) -> None:
    published = {name: service["ports"] for name, service in stack.services.items() if "ports" in service}
    assert list(published) == ["gateway"]
    for port in published["gateway"]:
        address, outside, inside = port.rsplit(":", 2)
        assert address.startswith("127."), "published to the world unless told so"
        assert int(outside) in stack.ports
        assert int(inside) == int(example(stack)["SA01_GATEWAY_PORT"]), "not where the gateway listens"


def test_the_stores_are_on_a_network_without_a_way_out(stack: Stack) -> None:
    assert stack.compose["networks"]["backend"] == {"internal": True}
    for name in SERVERS | {"scheduler", "migrations"}:
        assert stack.services[name]["networks"] == ["backend"], name


def test_the_servers_have_the_names_and_ports_that_the_settings_examples_say(stack: Stack) -> None:
    values = example(stack)
    assert {values["SA01_DB_HOST"], values["SA01_VALKEY_HOST"]} == {"postgres", "valkey"}
    assert values["SA01_VAULT_ADDR"] == "http://openbao:8200"
    assert values["SA01_VAULT_AUTH"] == "approle"
    folder = values["SA01_VAULT_SECRET_ID_FILE"].rpartition("/")[0]
    for name in OURS:
        mounts = {volume.split(":")[1] for volume in stack.services[name]["volumes"]}
        assert folder in mounts, f"{name} does not find its login at {folder}"


def test_the_owner_s_login_is_seen_by_migrations_and_errands_alone(stack: Stack) -> None:
    for name, service in stack.services.items():
        sources = {source_of(volume) for volume in service.get("volumes", [])}
        allowed = {"migrations", "bootstrap", "role-ids", "database"}
        assert ("credentials" in sources) == (name in allowed), name


def test_long_running_services_come_back_and_say_how_they_are(stack: Stack) -> None:
    for name in (OURS | SERVERS) - {"migrations"}:
        assert stack.services[name]["restart"] == "unless-stopped", name
        assert stack.services[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name
    for name in ERRANDS | {"migrations"}:
        assert stack.services[name]["restart"] == "no", name


def test_nothing_of_ours_starts_before_what_it_needs(stack: Stack) -> None:
    for name in OURS:
        needed = {on: how["condition"] for on, how in stack.services[name]["depends_on"].items()}
        assert {needed[server] for server in SERVERS} == {"service_healthy"}, name
        if name != "migrations":
            assert needed["migrations"] == "service_completed_successfully"


def test_errands_stay_out_of_a_plain_start(stack: Stack) -> None:
    for name, service in stack.services.items():
        assert ("profiles" in service) == (name in ERRANDS), name


def test_images_of_others_are_pinned_to_a_release(stack: Stack) -> None:
    for name in SERVERS:
        assert PUBLIC_IMAGE.fullmatch(stack.services[name]["image"]), stack.services[name]["image"]


def test_a_stop_leaves_time_for_the_drain(stack: Stack) -> None:
    drain = next(setting.default for setting in REGISTRY if setting.name == "SA01_DRAIN_SECONDS")
    for name in OURS:
        grace = int(stack.services[name]["stop_grace_period"].removesuffix("s"))
        assert grace > int(str(drain)) + 30, name


def test_every_setting_that_is_named_in_infra_is_declared() -> None:
    known = {setting.name for setting in REGISTRY}
    for path in sorted(INFRA.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and "private" not in path.parts and path.name != ".env":
            used = set(re.findall(r"SA01_[A-Z0-9_]*[A-Z0-9]", path.read_text(encoding="utf-8")))
            assert used <= known, f"{path.relative_to(INFRA)} names {sorted(used - known)}"


def test_no_secret_stands_in_a_compose_file(stack: Stack) -> None:
    secret = {setting.name for setting in REGISTRY if setting.secret}
    for name, service in stack.services.items():
        environment = service.get("environment", {})
        assert not secret & set(environment), name
        for key, value in environment.items():
            looks_secret = re.search(r"PASSWORD|SECRET|TOKEN|KEY", key)
            assert not looks_secret or str(value).startswith("/"), f"{name}: {key} is more than a path"
    assert not re.search(r"(hvs|s|b)\.[A-Za-z0-9]{20,}|[A-Za-z0-9+/_-]{40,}", stack.text)


def test_the_two_stacks_differ_in_what_they_must_and_in_nothing_else() -> None:
    one, other = (stack.compose for stack in STACKS)
    assert set(differences(one, other)) <= EXPECTED_DIFFERENCES


def differences(one: Any, other: Any, key: str = "") -> list[str]:
    """The last keys under which two documents are not the same."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(set(one) | set(other))
        return [found for each in keys for found in differences(one.get(each), other.get(each), each)]
    if one == other:
        return []
    return ["port" if key == "ports" else "image" if key == "VERSION" else key]


def example(stack: Stack) -> dict[str, str]:
    """The settings that a first start copies."""
    mode = Mode(stack.mode.upper())
    return {setting.name: setting.example.of(mode) for setting in REGISTRY}


def source_of(volume: str | dict[str, Any]) -> str:
    return volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
