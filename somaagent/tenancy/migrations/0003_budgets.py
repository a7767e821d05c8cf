import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

import somaagent.tenancy.fields
from somaagent.tenancy.rls import tenant_policy


class Migration(migrations.Migration):
    dependencies = [
        ("tenancy", "0002_usage"),
    ]

    operations = [
        migrations.CreateModel(
            name="Budget",
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
                ("name", models.CharField(max_length=200)),
                (
                    "covers",
                    models.CharField(
                        choices=[
                            ("tenant", "Tenant"),
                            ("user", "User"),
                            ("api_key", "API key"),
                            ("agent", "Agent"),
                        ],
                        max_length=16,
                    ),
                ),
                ("subject_id", models.UUIDField(blank=True, null=True)),
                (
                    "measure",
                    models.CharField(choices=[("tokens", "Tokens"), ("money", "Money")], max_length=16),
                ),
                ("period", models.CharField(choices=[("day", "Day"), ("month", "Month")], max_length=16)),
                (
                    "amount",
                    models.DecimalField(
                        decimal_places=6,
                        help_text="Tokens, or money in the currency of the model profiles' prices. 0: nothing may be spent.",
                        max_digits=19,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(1000000000000),
                        ],
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="BudgetCount",
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
                ("starts", models.DateField()),
                ("spent", models.DecimalField(decimal_places=12, default=0, max_digits=30)),
                (
                    "budget",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="counts",
                        to="tenancy.budget",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-starts"],
            },
        ),
        migrations.CreateModel(
            name="Reservation",
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
                ("run_id", models.UUIDField()),
                ("amount", models.DecimalField(decimal_places=12, max_digits=30)),
                ("expires_at", models.DateTimeField()),
                (
                    "budget",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="reservations",
                        to="tenancy.budget",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.UniqueConstraint(
                fields=("tenant", "covers", "subject_id", "measure", "period"),
                name="budget_once",
                nulls_distinct=False,
                violation_error_message="There is such a budget already: change its amount.",
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("covers", "tenant"), ("subject_id__isnull", True)),
                    models.Q(models.Q(("covers", "tenant"), _negated=True), ("subject_id__isnull", False)),
                    _connector="OR",
                ),
                name="budget_names_its_subject",
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gte", 0), ("amount__lte", 1000000000000)),
                name="budget_amount_in_range",
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetcount",
            constraint=models.UniqueConstraint(fields=("budget", "starts"), name="budget_count_once"),
        ),
        migrations.AddIndex(
            model_name="reservation",
            index=models.Index(fields=["run_id"], name="reservation_of_run"),
        ),
        migrations.AddConstraint(
            model_name="reservation",
            constraint=models.UniqueConstraint(fields=("budget", "run_id"), name="reservation_once"),
        ),
        tenant_policy("tenancy_budget"),
        tenant_policy("tenancy_budgetcount"),
        tenant_policy("tenancy_reservation"),
    ]
