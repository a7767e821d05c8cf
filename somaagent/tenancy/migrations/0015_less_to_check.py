"""A row of the ledger is written without checks of its counts: nobody but us counts."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

from somaagent.tenancy.constraints import without_sign_check

COUNTS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


class Migration(migrations.Migration):
    # What is checked again on the way back is looked through while steps are written.
    atomic = False

    dependencies: ClassVar = [("tenancy", "0014_order_of_events")]

    operations: ClassVar = [
        migrations.SeparateDatabaseAndState(
            [without_sign_check("tenancy_usagerecord", column) for column in ("step", *COUNTS)],
            [
                migrations.AlterField("usagerecord", "step", models.SmallIntegerField()),
                *(
                    migrations.AlterField("usagerecord", column, models.IntegerField(default=0))
                    for column in COUNTS
                ),
            ],
        ),
    ]
