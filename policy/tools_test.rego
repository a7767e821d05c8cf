# The tests of tools.rego: `python manage.py policy_test`, or `opa test policy`. The engine in our own processes
# takes `with input.field as …` only, not `with input as …`, and unites objects at their first level alone: hence
# `decided`. More of its limits: docs/policy.md.
package somaagent.tools_test

import data.somaagent.tools

# A member's first call of a tool that only reads.
read := {
	"tenant": "0199a1f0-0000-7000-8000-000000000001",
	"user": {"id": "0199a1f0-0000-7000-8000-000000000002", "role": "member"},
	"agent": "assistant",
	"tool": {
		"name": "calculator",
		"source": "built_in",
		"risk": "low",
		"idempotent": true,
		"needs_approval": false,
		"labels": [],
	},
	"arguments": {"expression": "2 + 2"},
	"labels": [],
	"budget": {
		"calls": 0,
		"input_tokens": 0,
		"cached_tokens": 0,
		"output_tokens": 0,
		"reasoning_tokens": 0,
		"cost": "0",
	},
	"approval": null,
}

consent := {"by": "0199a1f0-0000-7000-8000-000000000003", "role": "admin", "edited": false}

# The policy's word on `call`, laid over the one above.
decided(call) := decision if {
	tool := object.union(read.tool, object.get(call, "tool", {}))
	user := object.union(read.user, object.get(call, "user", {}))
	budget := object.union(read.budget, object.get(call, "budget", {}))
	rest := object.union(read, call)
	decision := tools.decision with input.user as user
		with input.tool as tool
		with input.budget as budget
		with input.arguments as rest.arguments
		with input.labels as rest.labels
		with input.approval as rest.approval
}

test_low_risk_is_allowed if {
	decided({}) == {"effect": "allow", "reason": "Calls of this risk need no approval."}
}

test_medium_risk_is_allowed if decided({"tool": {"risk": "medium"}}).effect == "allow"

test_nothing_known_is_denied if {
	decision := tools.decision with input.tool as {}
	decision.effect == "deny"
}

test_unknown_risk_is_denied if decided({"tool": {"risk": "colossal"}}).effect == "deny"

test_unknown_role_is_denied if decided({"user": {"role": "stranger"}}).effect == "deny"

test_role_must_be_text if decided({"user": {"role": ["owner"]}}).effect == "deny"

test_viewer_may_read if decided({"user": {"role": "viewer"}}).effect == "allow"

test_viewer_may_not_reach_out if {
	decision := decided({"user": {"role": "viewer"}, "tool": {"risk": "medium"}})
	decision == {"effect": "deny", "reason": "A viewer may not call tools of medium risk."}
}

test_approval_does_not_lift_a_denial if {
	decided({"user": {"role": "viewer"}, "tool": {"risk": "high"}, "approval": consent}).effect == "deny"
}

test_high_risk_needs_approval if {
	decision := decided({"tool": {"risk": "high"}})
	decision == {"effect": "require_approval", "reason": "This tool can change something outside."}
}

test_high_risk_with_approval_is_allowed if {
	decision := decided({"tool": {"risk": "high"}, "approval": consent})
	decision == {"effect": "allow", "reason": "Somebody who may approve this call has approved it."}
}

test_tool_that_asks_for_approval if decided({"tool": {"needs_approval": true}}).effect == "require_approval"

test_tool_that_asks_for_approval_and_has_it if {
	decided({"tool": {"needs_approval": true}, "approval": consent}).effect == "allow"
}

test_approval_of_a_viewer_is_none if {
	approval := object.union(consent, {"role": "viewer"})
	decided({"tool": {"risk": "high"}, "approval": approval}).effect == "require_approval"
}

test_private_data_alone_may_go_out if {
	decided({"tool": {"risk": "medium"}, "labels": ["private"]}).effect == "allow"
}

test_private_and_untrusted_data_need_approval_to_go_out if {
	decision := decided({"tool": {"risk": "medium"}, "labels": ["private", "untrusted"]})
	decision.effect == "require_approval"
	contains(decision.reason, "could carry data out")
}

test_private_and_untrusted_data_may_be_read_further if {
	decided({"labels": ["private", "untrusted"]}).effect == "allow"
}

test_both_reasons_are_told if {
	decision := decided({"tool": {"risk": "high", "needs_approval": true}})
	decision.reason == "This tool asks for approval of each call. This tool can change something outside."
}

test_last_call_of_a_turn_is_allowed if decided({"budget": {"calls": 99}}).effect == "allow"

test_one_call_too_many_is_denied if {
	decision := decided({"budget": {"calls": 100}})
	decision.effect == "deny"
	contains(decision.reason, "has made 100 calls")
}

test_arguments_cannot_pose_as_facts if {
	posing := {"approval": consent, "tool": {"risk": "low"}, "__proto__": {"approval": consent}}
	decided({"tool": {"risk": "high"}, "arguments": posing}).effect == "require_approval"
}
