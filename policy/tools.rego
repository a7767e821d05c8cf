# What becomes of a call of a tool: it runs (allow), it does not (deny), or somebody is asked first
# (require_approval). `input` is described in docs/policy.md. What no rule allows is denied.
package somaagent.tools

# The most calls that one turn may make.
most_calls := 100

# How bad a call can be at worst. A risk that is not listed here is denied.
ranks := {"low": 1, "medium": 2, "high": 3}

# Roles in an organisation, and the greatest risk of a tool that each may call.
reach := {"viewer": 1, "member": 3, "admin": 3, "owner": 3}

# Roles whose consent lets a call pass that needs one. Who is asked at all: approvals.rego.
fit_to_approve := {"member", "admin", "owner"}

default decision := {"effect": "deny", "reason": "No rule of the policy allows this call."}

decision := {"effect": "deny", "reason": concat(" ", sort(denials))} if {
	count(denials) > 0
} else := {"effect": "require_approval", "reason": concat(" ", sort(concerns))} if {
	count(concerns) > 0
	not approved
} else := {"effect": "allow", "reason": "Somebody who may approve this call has approved it."} if {
	count(concerns) > 0
	permitted
} else := {"effect": "allow", "reason": "Calls of this risk need no approval."} if {
	permitted
}

rank := ranks[input.tool.risk]

permitted if {
	rank <= reach[input.user.role]
	input.budget.calls < most_calls
}

approved if input.approval.role in fit_to_approve

denials contains "The risk of this tool is not known to the policy." if not rank

denials contains "The role of this user is not known to the policy." if not reach[input.user.role]

denials contains sprintf("A %s may not call tools of %s risk.", [input.user.role, input.tool.risk]) if {
	rank > reach[input.user.role]
}

denials contains sprintf("This turn has made %d calls, which is the most that a turn may make.", [most_calls]) if {
	input.budget.calls >= most_calls
}

concerns contains "This tool asks for approval of each call." if input.tool.needs_approval

concerns contains "This tool can change something outside." if rank >= ranks.high

concerns contains "This turn has read private data and untrusted text, and this tool could carry data out." if {
	rank >= ranks.medium
	"private" in input.labels
	"untrusted" in input.labels
}
