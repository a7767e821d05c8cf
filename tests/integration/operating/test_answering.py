"""Who answers is for owners and admins to say: model profiles with keys of their own, and agents."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
import requests
from django.urls import reverse

from apps.chat import host, tasks
from apps.sessions import keys
from apps.sessions import services as sessions
from apps.sessions.models import Agent, ModelProfile
from somaagent.background import run_coroutine
from somaagent.embedded.addresses import loopback
from somaagent.tenancy.audit.chain import verified
from somaagent.tenancy.models import Role, Scope
from somaagent.tenancy.scope import tenant_scope
from tests import model_server
from tests.factories import at_once, key_of, operator_client, organisation, person
from tests.integration.tenancy.town import Program

from .conftest import refusal, told

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_message_is_left")]
PROFILES, AGENTS = "/api/v1/model-profiles", "/api/v1/agents"
KEY, ANOTHER = "sk-of-acme-alone-1", "sk-of-acme-alone-2"
INSIDE = "http://10.11.12.13/v1"
HOSTED = {"slug": "hosted", "name": "Hosted", "base_url": "https://model.example.org/v1", "model": "large"}
HELPER = {"slug": "helper", "name": "Helper", "model_profile": "scripted"}


@pytest.fixture(scope="module")
def model():
    with model_server.process(key=KEY) as url:
        yield url


@pytest.fixture(autouse=True)
def _allowed(settings) -> None:
    """The scripted model's own address, as an operator allows it whose tenants have models there."""
    settings.OUTBOUND_ALLOWED_NETWORKS = [ip_network(f"{loopback()}/32")]


@pytest.fixture
def owner(acme):
    return Program(key_of(acme.owner))


def program(acme, role):
    return Program(key_of(person(role.value, acme.tenant, role)))


def changed(somebody, where, body):
    answer = somebody.call("PATCH", where, body)
    assert answer.status_code == 200, answer.content
    return answer.json()


def at_fault(answer):
    assert answer.status_code == 422, answer.content
    return answer.json()["errors"][0]["field"]


def answered(acme, member, text="say: well"):
    """A turn of a member with the helper, answered by a worker."""
    accepted = member.call("POST", "/api/v1/turns", {"input": text, "agent": "helper", "background": True})
    assert accepted.status_code == 202, accepted.content
    tasks.turn_run(accepted.json()["id"], str(acme.tenant.id))
    run_coroutine(host.idle())
    return member.call("GET", f"/api/v1/turns/{accepted.json()['id']}").json()


def row(acme, slug="hosted"):
    with tenant_scope(acme.tenant.id):
        return ModelProfile.objects.get(slug=slug)


def test_an_owner_connects_a_model_with_a_key_and_a_member_speaks_with_the_agent(acme, owner, model):
    member = program(acme, Role.MEMBER)
    body = HOSTED | {"base_url": f"{model}/v1", "api_key": KEY, "max_retries": 0, "input_price": "2.50"}
    made = owner.made(PROFILES, body)
    assert (made["api_key"], made["public_only"], made["input_price"]) == ("own", True, "2.5")
    agent = owner.made(AGENTS, HELPER | {"model_profile": "hosted", "instructions": "Be brief."})
    assert (agent["is_default"], agent["tools"], agent["instructions"]) == (False, [], "Be brief.")
    requests.post(f"{model}/_reset", timeout=60).raise_for_status()
    turn = answered(acme, member)
    assert (turn["state"], turn["error"]) == ("completed", None)
    [asked] = requests.get(f"{model}/_requests", timeout=60).json()["requests"]
    assert asked["authorization"] == f"Bearer {KEY}"
    assert asked["body"]["messages"][0] == {"role": "system", "content": "Be brief."}

    changed(owner, f"{PROFILES}/hosted", {"api_key": ANOTHER})
    assert answered(acme, member)["error"]["code"] == "model_refused_key"
    assert changed(owner, f"{PROFILES}/hosted", {"api_key": None})["api_key"] is None
    assert row(acme).encrypted_key == ""


def test_a_key_never_comes_back(acme, owner):
    made = owner.call("POST", PROFILES, HOSTED | {"api_key": KEY})
    answers = [made, owner.call("PATCH", f"{PROFILES}/hosted", {"api_key": ANOTHER})]
    answers += [owner.call("GET", where) for where in (PROFILES, f"{PROFILES}/hosted", "/api/v1/audit")]
    answers.append(owner.call("PATCH", f"{PROFILES}/hosted", {"api_key": "two words are none"}))
    assert at_fault(answers[-1]) == "body.api_key"
    for text in (KEY, ANOTHER, "two words", row(acme).encrypted_key, "secret_name"):
        assert not any(text in answer.content.decode() for answer in answers)
    assert keys.opened(row(acme)) == ANOTHER
    for action in ("model_profile.created", "model_profile.changed"):
        (entry,) = told(acme.tenant, action)
        assert entry.target_id == made.json()["id"]
    assert entry.facts["values"] == {"own_key": "another"}
    with tenant_scope(acme.tenant.id):
        assert verified(acme.tenant.id).fault == ""


def test_members_and_viewers_read_what_owners_and_admins_say(acme, owner):
    program(acme, Role.ADMIN).made(PROFILES, HOSTED)
    owner.made(AGENTS, HELPER | {"instructions": "Not for everybody."})
    deeds = [
        ("POST", PROFILES, HOSTED | {"slug": "mine"}),
        ("PATCH", f"{PROFILES}/hosted", {"name": "Mine"}),
        ("DELETE", f"{PROFILES}/hosted", None),
        ("POST", AGENTS, HELPER | {"slug": "mine"}),
        ("PATCH", f"{AGENTS}/helper", {"name": "Mine"}),
        ("DELETE", f"{AGENTS}/helper", None),
    ]
    member, viewer = (program(acme, role) for role in (Role.MEMBER, Role.VIEWER))
    for method, path, body in deeds:
        assert refusal(member.call(method, path, body), 403) == "role_forbidden"
        assert refusal(viewer.call(method, path, body), 403) == "scope_missing"
    for somebody in (member, viewer):
        agent = somebody.call("GET", f"{AGENTS}/helper").json()
        assert (agent["name"], agent["instructions"]) == ("Helper", None)
        assert somebody.call("GET", f"{PROFILES}/hosted").json()["name"] == "Hosted"
    outsider = Program(key_of(organisation("other").owner))
    for method, path, body in deeds[1:3] + deeds[4:]:
        assert refusal(outsider.call(method, path, body), 404) == "not_found"


@pytest.mark.parametrize(
    "address",
    [INSIDE, "http://[fd00::1]/v1", "http://169.254.169.254/latest", "https://who:ever@model.example.org/v1"],
)
def test_a_tenant_s_own_do_not_point_inside(acme, owner, address):
    assert at_fault(owner.call("POST", PROFILES, HOSTED | {"base_url": address})) == "body.base_url"
    owner.made(PROFILES, HOSTED)
    assert at_fault(owner.call("PATCH", f"{PROFILES}/hosted", {"base_url": address})) == "body.base_url"
    beyond = {"base_url": address, "public_only": False}
    for answer in (
        owner.call("POST", PROFILES, HOSTED | {"slug": "beyond"} | beyond),
        owner.call("PATCH", f"{PROFILES}/hosted", beyond),
    ):
        assert refusal(answer, 403) == "operator_only"
    assert row(acme).base_url == HOSTED["base_url"]


@pytest.mark.parametrize(
    "facts",
    [
        {"base_url": INSIDE},
        {"base_url": INSIDE, "protocol": "anthropic"},
        {"base_url": INSIDE, "protocol": "pydantic_ai", "model": "google:gemini"},
    ],
)
def test_an_address_that_leads_inside_by_now_is_refused_when_it_is_asked(acme, owner, facts):
    """Written while it was allowed, or a name that led elsewhere then."""
    owner.made(PROFILES, HOSTED | {"api_key": KEY})
    owner.made(AGENTS, HELPER | {"model_profile": "hosted"})
    with tenant_scope(acme.tenant.id):
        ModelProfile.objects.filter(slug="hosted").update(**facts)
    turn = answered(acme, program(acme, Role.MEMBER))
    assert (turn["state"], turn["error"]["code"]) == ("failed", "model_not_public")
    assert "public address" in turn["error"]["message"]
    assert "10.11" not in turn["error"]["message"]


def test_a_provider_is_reached_at_its_own_address_alone(owner):
    gemini = HOSTED | {"protocol": "pydantic_ai", "model": "google:gemini", "api_key": KEY}
    assert at_fault(owner.call("POST", PROFILES, gemini)) == "body.base_url"
    assert (
        at_fault(owner.call("POST", PROFILES, gemini | {"base_url": "", "api_key": None})) == "body.api_key"
    )
    bedrock = gemini | {"base_url": "", "model": "bedrock:anthropic.claude"}
    assert at_fault(owner.call("POST", PROFILES, bedrock)) == "body.model"
    elsewhere = gemini | {"base_url": "", "model": "huggingface:http://169.254.169.254/v1"}
    assert at_fault(owner.call("POST", PROFILES, elsewhere)) == "body.model"
    owner.made(PROFILES, gemini | {"base_url": ""})
    assert at_fault(owner.call("PATCH", f"{PROFILES}/hosted", {"model": "groq:llama"})) == "body.api_key"
    assert changed(owner, f"{PROFILES}/hosted", {"model": "google:another"})["model"] == "google:another"


def test_a_key_that_is_there_goes_to_no_other_server(acme, owner):
    owner.made(PROFILES, HOSTED | {"api_key": KEY})
    admin = program(acme, Role.ADMIN)
    for elsewhere in ({"base_url": "https://thief.example.org/v1"}, {"protocol": "anthropic"}):
        assert at_fault(admin.call("PATCH", f"{PROFILES}/hosted", elsewhere)) == "body.api_key"
    assert (row(acme).base_url, keys.opened(row(acme))) == (HOSTED["base_url"], KEY)
    moved = {"base_url": "https://new.example.org/v1", "api_key": ANOTHER}
    assert changed(admin, f"{PROFILES}/hosted", moved)["base_url"] == moved["base_url"]
    assert keys.opened(row(acme)) == ANOTHER
    changed(admin, f"{PROFILES}/hosted", {"base_url": HOSTED["base_url"], "api_key": ""})
    assert row(acme).encrypted_key == ""


@pytest.mark.parametrize(
    "facts", [{"secret_name": "models/openai", "public_only": True}, {"base_url": INSIDE}]
)
def test_what_operators_made_is_theirs_to_change(acme, owner, facts):
    with tenant_scope(acme.tenant.id):
        given = {"name": "Theirs", "base_url": HOSTED["base_url"], "model": "large"} | facts
        sessions.model_profile_ensure(tenant_id=acme.tenant.id, slug="theirs", **given)
    where = f"{PROFILES}/theirs"
    seen = owner.call("GET", where).json()
    assert seen["api_key"] == ("vault" if "secret_name" in facts else None)
    for body in ({"base_url": "https://thief.example.org"}, {"api_key": KEY}, {"name": "Mine"}):
        assert refusal(owner.call("PATCH", where, body), 403) == "operator_only"
    assert refusal(owner.call("DELETE", where), 403) == "operator_only"
    assert at_fault(owner.call("POST", PROFILES, HOSTED | {"secret_name": "models/openai"})).endswith(
        "secret_name"
    )
    owner.made(AGENTS, HELPER | {"model_profile": "theirs"})
    assert owner.call("GET", where).json() == seen


def test_an_owner_who_operates_the_platform_may_reach_inside(acme, owner):
    operator_client(acme.owner)  # an operator from now on; whose key does not say so is as others are
    private = HOSTED | {"base_url": INSIDE, "public_only": False}
    assert refusal(owner.call("POST", PROFILES, private), 403) == "operator_only"
    operator = Program(key_of(acme.owner, scopes=list(Scope)))
    assert operator.made(PROFILES, private)["public_only"] is False
    assert at_fault(operator.call("PATCH", f"{PROFILES}/hosted", {"public_only": True})) == "body.base_url"
    public = {"public_only": True, "base_url": HOSTED["base_url"]}
    changed(operator, f"{PROFILES}/hosted", public)
    assert changed(owner, f"{PROFILES}/hosted", {"name": "Handed over"})["public_only"] is True


def test_the_default_moves_and_there_is_always_one(acme, owner):
    other = {"is_default": False}
    owner.made(AGENTS, HELPER | {"is_default": True})
    assert owner.call("GET", f"{AGENTS}/assistant").json()["is_default"] is False
    assert refusal(owner.call("PATCH", f"{AGENTS}/helper", other), 409) == "agent_is_default"
    assert refusal(owner.call("DELETE", f"{AGENTS}/helper"), 409) == "agent_is_default"
    changed(owner, f"{AGENTS}/assistant", {"is_default": True})
    assert [agent["slug"] for agent in owner.call("GET", AGENTS).json()["items"] if agent["is_default"]] == [
        "assistant"
    ]
    assert changed(owner, f"{AGENTS}/helper", other)["is_default"] is False
    assert owner.call("DELETE", f"{AGENTS}/helper").status_code == 204
    assert refusal(owner.call("GET", f"{AGENTS}/helper"), 404) == "not_found"
    for action in ("agent.created", "agent.deleted"):
        assert len(told(acme.tenant, action)) == 1
    (entry,) = told(acme.tenant, "agent.changed")
    assert entry.facts["values"] == {"is_default": {"from": False, "to": True}}


def test_two_that_become_the_default_at_once_leave_one(acme, owner):
    slugs = ["first", "second", "third"]
    for slug in slugs:
        owner.made(AGENTS, HELPER | {"slug": slug})
    at_once(*[lambda slug=slug: changed(owner, f"{AGENTS}/{slug}", {"is_default": True}) for slug in slugs])
    with tenant_scope(acme.tenant.id):
        assert Agent.objects.filter(is_default=True, slug__in=slugs).count() == 1


def test_the_default_moves_in_the_admin_too_and_is_told_once(acme, owner):
    form = {"name": "Helper", "slug": "helper", "model_profile": acme.agent.model_profile_id}
    browser = operator_client(acme.owner)
    added = browser.post(reverse("admin:agent_sessions_agent_add"), form | {"is_default": "on"})
    assert added.status_code == 302, added.content.decode()
    assert owner.call("GET", f"{AGENTS}/assistant").json()["is_default"] is False
    assert len(told(acme.tenant, "agent.created")) == 1
    page = browser.get(reverse("admin:agent_sessions_modelprofile_add")).content.decode()
    assert "Public addresses only" in page


def test_an_organisation_s_first_agent_is_its_default(acme, owner):
    with tenant_scope(acme.tenant.id):
        Agent.objects.all().delete()
    assert owner.made(AGENTS, HELPER)["is_default"] is True


def test_what_is_in_use_is_not_deleted(acme, owner):
    owner.made(PROFILES, HOSTED)
    owner.made(PROFILES, HOSTED | {"slug": "first", "fallback": "hosted"})
    owner.made(AGENTS, HELPER | {"model_profile": "first"})
    session = owner.made("/api/v1/sessions", {"agent": "helper"})
    for slug in ("first", "hosted"):
        refused = owner.call("DELETE", f"{PROFILES}/{slug}")
        assert refusal(refused, 409) == "model_profile_in_use"
    assert refusal(owner.call("DELETE", f"{AGENTS}/helper"), 409) == "agent_in_use"
    assert owner.call("DELETE", f"/api/v1/sessions/{session['id']}").status_code == 204
    for where in (f"{AGENTS}/helper", f"{PROFILES}/first", f"{PROFILES}/hosted"):
        assert owner.call("DELETE", where).status_code == 204
    assert len(told(acme.tenant, "model_profile.deleted")) == 2


def test_an_agent_has_tools_that_there_are_and_keeps_those_that_went_away(acme, owner):
    assert at_fault(owner.call("POST", AGENTS, HELPER | {"tools": ["calculator", "nothing"]})) == "body.tools"
    made = owner.made(AGENTS, HELPER | {"tools": ["calculator", "current_*", "calculator"]})
    assert made["tools"] == ["calculator", "current_*"]
    with tenant_scope(acme.tenant.id):
        Agent.objects.filter(slug="helper").update(tools=["post__send"])
    kept = changed(owner, f"{AGENTS}/helper", {"tools": ["post__send", "calculator"]})
    assert kept["tools"] == ["post__send", "calculator"]
    assert at_fault(owner.call("PATCH", f"{AGENTS}/helper", {"tools": ["nothing"]})) == "body.tools"
    assert at_fault(owner.call("PATCH", f"{AGENTS}/helper", {"tools": ["no tool"]})) == "body.tools.0"


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"slug": "two words"}, "body.slug"),
        ({"name": ""}, "body.name"),
        ({"base_url": ""}, "body.base_url"),
        ({"base_url": "model"}, "body.base_url"),
        ({"protocol": "carrier pigeon"}, "body.protocol"),
        ({"input_price": "-1"}, "body.input_price"),
        ({"input_price": "999999"}, "body.input_price"),
        ({"input_price": 1}, "body.input_price"),
        ({"temperature": 3}, "body.temperature"),
        ({"max_output_tokens": 0}, "body.max_output_tokens"),
        ({"max_output_tokens": 10**20}, "body.max_output_tokens"),
        ({"max_output_tokens": 600, "context_tokens": 1000}, "body.max_output_tokens"),
        ({"fallback": "nobody"}, "body.fallback"),
        ({"kind": "embedding", "fallback": "scripted"}, "body.fallback"),
        ({"dimensions": 5}, "body.dimensions"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_made(acme, owner, facts, field):
    assert at_fault(owner.call("POST", PROFILES, HOSTED | facts)) == field
    with tenant_scope(acme.tenant.id):
        assert ModelProfile.objects.count() == 1


def test_what_is_null_or_stands_twice(owner):
    owner.made(PROFILES, HOSTED)
    assert refusal(owner.call("POST", PROFILES, HOSTED), 409) == "model_profile_exists"
    assert refusal(owner.call("POST", AGENTS, HELPER | {"slug": "assistant"}), 409) == "agent_exists"
    assert at_fault(owner.call("POST", AGENTS, HELPER | {"model_profile": "no"})) == "body.model_profile"
    for path, nothing in (
        (f"{PROFILES}/hosted", {"protocol": None}),
        (f"{AGENTS}/assistant", {"name": None}),
    ):
        assert owner.call("PATCH", path, nothing).status_code == 422


def test_an_embedding_profile_answers_nobody(owner):
    owner.made(PROFILES, HOSTED | {"kind": "embedding", "dimensions": 8})
    assert at_fault(owner.call("POST", AGENTS, HELPER | {"model_profile": "hosted"})) == "body.model_profile"
    owner.made(PROFILES, HOSTED | {"slug": "answers"})
    owner.made(AGENTS, HELPER | {"model_profile": "answers"})
    assert at_fault(owner.call("PATCH", f"{PROFILES}/answers", {"kind": "embedding"})) == "body.kind"


def test_a_repetition_finds_what_was_made(owner):
    for path, body, other in (
        (PROFILES, HOSTED | {"api_key": KEY}, {"api_key": ANOTHER}),
        (AGENTS, HELPER, {"name": "Another"}),
    ):
        first, again = (owner.call("POST", path, body, idempotency_key="a") for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        refused = owner.call("POST", path, body | other, idempotency_key="a")
        assert refusal(refused, 422) == "idempotency_key_reused"
