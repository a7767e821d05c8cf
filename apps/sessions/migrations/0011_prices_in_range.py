import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agent_sessions", "0010_agent_tools"),
    ]

    operations = [
        migrations.AlterField(
            model_name="modelprofile",
            name="cached_price",
            field=models.DecimalField(
                blank=True,
                decimal_places=6,
                help_text="For those of them that its server had kept.",
                max_digits=12,
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(0),
                    django.core.validators.MaxValueValidator(100000),
                ],
                verbose_name="cached input",
            ),
        ),
        migrations.AlterField(
            model_name="modelprofile",
            name="input_price",
            field=models.DecimalField(
                blank=True,
                decimal_places=6,
                help_text="For a million tokens that it reads.",
                max_digits=12,
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(0),
                    django.core.validators.MaxValueValidator(100000),
                ],
                verbose_name="input",
            ),
        ),
        migrations.AlterField(
            model_name="modelprofile",
            name="output_price",
            field=models.DecimalField(
                blank=True,
                decimal_places=6,
                help_text="For a million tokens that it writes.",
                max_digits=12,
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(0),
                    django.core.validators.MaxValueValidator(100000),
                ],
                verbose_name="output",
            ),
        ),
        migrations.AlterField(
            model_name="modelprofile",
            name="reasoning_price",
            field=models.DecimalField(
                blank=True,
                decimal_places=6,
                help_text="For those of them that are reasoning.",
                max_digits=12,
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(0),
                    django.core.validators.MaxValueValidator(100000),
                ],
                verbose_name="reasoning",
            ),
        ),
        migrations.AddConstraint(
            model_name="modelprofile",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("input_price__lte", 100000),
                    ("cached_price__lte", 100000),
                    ("output_price__lte", 100000),
                    ("reasoning_price__lte", 100000),
                ),
                name="model_profile_prices_not_absurd",
            ),
        ),
    ]
