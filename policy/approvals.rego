# Who may approve a call that needs approval. `input` is that of tools.rego, and `approver`: whoever wants to
# approve it, with their role in the organisation. What no rule allows is refused.
package somaagent.approvals

default decision := {
	"allow": false,
	"reason": "Only the user of this turn, unless a viewer, and owners and admins of the organisation may approve this call.",
}

decision := {"allow": true, "reason": "Owners and admins may approve the calls of everybody in their organisation."} if {
	input.approver.role in {"owner", "admin"}
} else := {"allow": true, "reason": "A user may approve the calls of their own turns."} if {
	input.approver.role == "member"
	input.approver.id == input.user.id
}
