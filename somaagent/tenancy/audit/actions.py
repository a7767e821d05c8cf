"""Every action that the audit knows, and what it says. ``docs/operations.md`` lists them as they stand here.

What operators add, change or delete in a form of the admin is besides them, as ``KIND.created``,
``KIND.changed`` and ``KIND.deleted`` of each kind of thing (``audited``).
"""

from __future__ import annotations

ACTIONS = {
    "user.signed_in": "somebody signed in, with a password or by an identity provider",
    "user.signed_out": "they signed out",
    "user.sessions_ended": "somebody ended browser sessions of theirs, or an operator all of them; how many",
    "user.tenant_chosen": "somebody of several organisations works in this one from now on",
    "user.sign_in_failed": "a wrong password or code for a user that there is, or a provider's user who is "
    "not let in; attempts that are locked out are only counted",
    "user.created": "an identity provider sent somebody new, or somebody made an account by an invitation",
    "user.account_merged": "an account became that of somebody at an identity provider, too",
    "user.password_changed": "by themselves, by an operator, or at the command line",
    "user.suspended": "an operator shut them out of every organisation",
    "user.resumed": "an operator let them in again",
    "user.second_factor_added": "an app, or recovery codes",
    "user.second_factor_removed": "by themselves; by an operator it is `authenticator.deleted`",
    "user.second_factor_renewed": "new recovery codes",
    "membership.created": "a member by an identity provider, at the command line or in the admin; by an "
    "invitation it is `invitation.accepted`",
    "membership.changed": "another role",
    "membership.deleted": "somebody was removed, or left",
    "invitation.created": "an invitation was made",
    "invitation.revoked": "it was revoked",
    "invitation.accepted": "somebody became a member by it",
    "api_key.created": "a key was made",
    "api_key.revoked": "it was revoked",
    "approval.answered": "a call of a tool was approved, edited or denied",
    "webhook.created": "a webhook was made; of its address the host is kept",
    "webhook.changed": "its address, its events, or whether it is enabled",
    "webhook.secret_rotated": "a new secret",
    "webhook.deleted": "it was deleted",
    "schedule.created": "a schedule was made",
    "schedule.changed": "changed, paused or resumed by its user; of its words only that they are others",
    "schedule.deleted": "it was deleted",
    "schedule.paused": "paused by an operator",
    "schedule.resumed": "resumed by an operator",
    "schedule.begun": "run at once by an operator",
    "turn.cancelled": "a manager stopped somebody's turn",
    "turn.retried": "a manager had it answered again, as its user's",
    "turn.handed_over": "a manager gave a stuck turn to the workers",
    "mcp_server.checked": "a manager had its list of tools read at once",
    "breaker.closed": "an operator closed a model profile's circuit breaker",
    "agent.created": "an owner or admin made an agent",
    "agent.changed": "its name, model profile, tools, or whether it is the default; of its instructions only "
    "that they are others",
    "agent.deleted": "it was deleted",
    "model_profile.created": "an owner or admin made a way to reach a model; never its key",
    "model_profile.changed": "anything of it; of its own key whether there is one, or that it is another",
    "model_profile.deleted": "it was deleted, with its own key",
    "budget.created": "a budget was made",
    "budget.changed": "another name or amount",
    "budget.deleted": "it was deleted",
    "tenant.created": "an operator made the organisation",
    "tenant.changed": "an operator changed its name or its limit of requests",
    "tenant.suspended": "an operator shut it",
    "tenant.resumed": "an operator let its people in again",
    "tenant.exported": "an archive was written; its manifest's SHA-256 names it",
    "tenant.imported": "the organisation arrived by that archive; behind the entries that it brought",
    "tenant.erased": "in the signed report, which has the end of the chain, and a line of the command's log "
    "(`audit.without_tenant`): the chain itself is gone",
}


def table() -> str:
    """As Markdown."""
    rows = [f"| `{name}` | {told} |" for name, told in ACTIONS.items()]
    return "\n".join(["| action | what was done |", "|---|---|", *rows])
