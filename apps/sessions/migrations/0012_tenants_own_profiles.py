from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agent_sessions", "0011_prices_in_range"),
        ("tenancy", "0013_signed_in"),
    ]

    operations = [
        migrations.AddField(
            model_name="agent",
            name="idempotency_key",
            field=models.CharField(editable=False, max_length=200, null=True),
        ),
        migrations.AddField(
            model_name="agent",
            name="request_digest",
            field=models.BinaryField(max_length=32, null=True),
        ),
        migrations.AddField(
            model_name="modelprofile",
            name="idempotency_key",
            field=models.CharField(editable=False, max_length=200, null=True),
        ),
        migrations.AddField(
            model_name="modelprofile",
            name="public_only",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="It is reached at public addresses alone, and the organisation's owners and admins may change it. Profiles that they make are always so.",
                verbose_name="public addresses only",
            ),
        ),
        migrations.AddField(
            model_name="modelprofile",
            name="request_digest",
            field=models.BinaryField(max_length=32, null=True),
        ),
        migrations.AddConstraint(
            model_name="agent",
            constraint=models.UniqueConstraint(fields=("tenant", "idempotency_key"), name="agent_made_once"),
        ),
        migrations.AddConstraint(
            model_name="modelprofile",
            constraint=models.UniqueConstraint(
                fields=("tenant", "idempotency_key"), name="model_profile_made_once"
            ),
        ),
    ]
