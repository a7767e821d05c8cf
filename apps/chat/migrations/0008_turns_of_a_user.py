from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Turns are submitted while an index is made.
    atomic = False

    dependencies = [("chat", "0007_request")]

    operations = [
        AddIndexConcurrently(
            model_name="turn",
            index=models.Index(fields=["tenant", "user", "-id"], name="turn_of_user"),
        ),
    ]
