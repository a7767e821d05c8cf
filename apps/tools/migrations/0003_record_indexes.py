from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Calls are recorded while indexes are made.
    atomic = False

    dependencies = [("tools", "0002_mcp_servers")]

    operations = [
        AddIndexConcurrently(
            model_name="tooldecision",
            index=models.Index(
                condition=models.Q(("effect", "allow"), _negated=True),
                fields=["tenant", "effect", "-id"],
                name="tool_decision_of_effect",
            ),
        ),
        AddIndexConcurrently(
            model_name="toolcallrecord",
            index=models.Index(fields=["tenant", "user_id", "-id"], name="tool_call_of_user"),
        ),
        AddIndexConcurrently(
            model_name="toolcallrecord",
            index=models.Index(
                condition=models.Q(("outcome", "ok"), _negated=True),
                fields=["tenant", "outcome", "-id"],
                name="tool_call_of_outcome",
            ),
        ),
        AddIndexConcurrently(
            model_name="toolcallrecord",
            index=models.Index(fields=["decision_id"], name="tool_call_of_decision"),
        ),
    ]
