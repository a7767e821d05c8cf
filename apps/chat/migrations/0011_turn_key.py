from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0010_approval_indexes"),
    ]

    operations = [
        migrations.AddField(
            model_name="turn",
            name="api_key_id",
            field=models.UUIDField(editable=False, help_text="The key that submitted it, if one.", null=True),
        ),
    ]
