import django.db.models.deletion
from django.db import migrations, models

import somaagent.tenancy.fields
from somaagent.tenancy.rls import append_only, tenant_policy


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("tenancy", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="ToolCallRecord",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=somaagent.tenancy.fields.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("user_id", models.UUIDField()),
                ("agent", models.CharField(blank=True, max_length=63)),
                ("session_id", models.UUIDField(null=True)),
                ("turn_id", models.UUIDField(null=True)),
                ("call_id", models.CharField(max_length=64)),
                ("tool", models.CharField(max_length=64)),
                ("source", models.CharField(blank=True, max_length=100)),
                ("arguments", models.JSONField()),
                ("decision_id", models.UUIDField(null=True)),
                (
                    "answer",
                    models.CharField(
                        blank=True,
                        choices=[("approved", "Approved"), ("denied", "Denied"), ("expired", "Expired")],
                        max_length=16,
                    ),
                ),
                ("answered_by", models.UUIDField(null=True)),
                ("edited", models.BooleanField(default=False)),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("ok", "ok"),
                            ("failed", "failed"),
                            ("timed_out", "timed_out"),
                            ("refused", "refused"),
                            ("denied", "denied"),
                            ("expired", "expired"),
                            ("cancelled", "cancelled"),
                            ("cut_short", "cut_short"),
                        ],
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=1000)),
                ("started_at", models.DateTimeField(null=True)),
                ("seconds", models.FloatField(null=True)),
                ("result_digest", models.CharField(blank=True, max_length=64)),
                ("result_characters", models.PositiveIntegerField(default=0)),
                (
                    "tenant",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["tenant", "-id"], name="tool_call_newest"),
                    models.Index(fields=["tenant", "tool", "-id"], name="tool_call_of_tool"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("turn_id", "call_id"), name="tool_call_recorded_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="ToolDecision",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=somaagent.tenancy.fields.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("user_id", models.UUIDField()),
                ("agent", models.CharField(blank=True, max_length=63)),
                ("session_id", models.UUIDField(null=True)),
                ("turn_id", models.UUIDField(null=True)),
                ("call_id", models.CharField(max_length=64)),
                ("tool", models.CharField(max_length=64)),
                ("source", models.CharField(max_length=100)),
                ("input", models.JSONField()),
                ("effect", models.CharField(max_length=16)),
                ("reason", models.CharField(max_length=1000)),
                ("policy", models.CharField(blank=True, max_length=100)),
                (
                    "tenant",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["tenant", "-id"], name="tool_decision_newest"),
                    models.Index(fields=["turn_id"], name="tool_decision_of_turn"),
                ],
            },
        ),
        *(
            operation
            for table in ("tools_tooldecision", "tools_toolcallrecord")
            for operation in (tenant_policy(table), append_only(table))
        ),
    ]
