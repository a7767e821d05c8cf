"""Which events are next is kept in their tenant's lane: a row of theirs changes once, when it is published."""

from __future__ import annotations

import django.contrib.postgres.fields
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Events are written while the index is made.
    atomic = False

    dependencies = [("tenancy", "0013_signed_in")]

    operations = [
        migrations.AddField(
            model_name="outboxlane",
            name="next_events",
            field=django.contrib.postgres.fields.ArrayField(models.UUIDField(), default=list, db_default=[]),
        ),
        AddIndexConcurrently(
            model_name="outboxevent",
            index=models.Index(
                fields=["tenant", "position"],
                condition=models.Q(("position__isnull", False), ("published_at__isnull", True)),
                name="outbox_event_again",
            ),
        ),
    ]
