import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import somaagent.tenancy.fields
from somaagent.tenancy.rls import tenant_policy


class Migration(migrations.Migration):
    dependencies = [
        ("agent_sessions", "0010_agent_tools"),
        ("chat", "0008_turns_of_a_user"),
        ("tenancy", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Call",
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
                ("step", models.PositiveSmallIntegerField()),
                ("call_id", models.CharField(max_length=64)),
                ("tool", models.CharField(max_length=200)),
                ("source", models.CharField(blank=True, max_length=100)),
                ("decision", models.CharField(blank=True, max_length=36)),
                ("arguments", models.TextField()),
                (
                    "state",
                    models.CharField(
                        choices=[("awaiting", "Awaiting"), ("running", "Running"), ("done", "Done")],
                        max_length=16,
                    ),
                ),
                ("risk", models.CharField(blank=True, max_length=16)),
                ("reason", models.TextField(blank=True)),
                ("asked_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(null=True)),
                (
                    "answer",
                    models.CharField(
                        blank=True,
                        choices=[("approved", "Approved"), ("denied", "Denied"), ("expired", "Expired")],
                        max_length=16,
                    ),
                ),
                ("answered_by", models.UUIDField(null=True)),
                ("answered_role", models.CharField(blank=True, max_length=16)),
                ("answered_at", models.DateTimeField(null=True)),
                ("answer_reason", models.CharField(blank=True, max_length=500)),
                ("edited_arguments", models.TextField(null=True)),
                ("cut_short", models.BooleanField(default=False)),
                ("outcome", models.CharField(blank=True, max_length=16)),
                ("result", models.TextField(blank=True)),
            ],
            options={
                "ordering": ["turn", "id"],
            },
        ),
        migrations.AddField(
            model_name="turn",
            name="approvals_expire_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="turn",
            name="begun",
            field=models.JSONField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="turn",
            name="hosts_lost",
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name="turn",
            name="state",
            field=models.CharField(
                choices=[
                    ("queued", "Queued"),
                    ("running", "Running"),
                    ("awaiting_approval", "Awaiting Approval"),
                    ("completed", "Completed"),
                    ("failed", "Failed"),
                    ("cancelled", "Cancelled"),
                ],
                default="queued",
                max_length=24,
            ),
        ),
        migrations.AddField(
            model_name="call",
            name="tenant",
            field=models.ForeignKey(
                editable=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="tenancy.tenant",
            ),
        ),
        migrations.AddField(
            model_name="call",
            name="turn",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="calls", to="chat.turn"
            ),
        ),
        migrations.AddConstraint(
            model_name="call",
            constraint=models.UniqueConstraint(fields=("turn", "call_id"), name="call_once"),
        ),
        tenant_policy("chat_call"),
    ]
