# The tests of approvals.rego. For `answered`: see tools_test.rego.
package somaagent.approvals_test

import data.somaagent.approvals

own := "0199a1f0-0000-7000-8000-000000000002"

other := "0199a1f0-0000-7000-8000-000000000003"

# The policy's word on an approver of a member's call.
answered(approver) := decision if {
	decision := approvals.decision with input.user as {"id": "0199a1f0-0000-7000-8000-000000000002", "role": "member"}
		with input.tool as {"name": "http_fetch", "risk": "high", "needs_approval": true}
		with input.approver as approver
}

test_user_may_approve_their_own_call if answered({"id": own, "role": "member"}).allow

test_viewer_may_not_approve_their_own_call if not answered({"id": own, "role": "viewer"}).allow

test_member_may_not_approve_for_another if not answered({"id": other, "role": "member"}).allow

test_admin_may_approve_for_another if answered({"id": other, "role": "admin"}).allow

test_owner_may_approve_for_another if answered({"id": other, "role": "owner"}).allow

test_unknown_role_may_not_approve if not answered({"id": own, "role": "operator"}).allow

test_nobody_may_not_approve if {
	decision := answered({})
	decision.allow == false
	startswith(decision.reason, "Only the user of this turn")
}
