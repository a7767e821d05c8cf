"""A scope for keys of operators. The database's own check of scopes is none: nothing is rewritten."""

from __future__ import annotations

from typing import ClassVar

import django.contrib.postgres.fields
from django.db import migrations, models

import somaagent.tenancy.models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("tenancy", "0009_outbox")]

    operations: ClassVar = [
        migrations.AlterField(
            model_name="apikey",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[("read", "Read"), ("write", "Write"), ("operate", "Operate")], max_length=32
                ),
                default=somaagent.tenancy.models.default_scopes,
                size=None,
            ),
        ),
    ]
