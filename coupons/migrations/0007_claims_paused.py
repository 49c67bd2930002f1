from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('coupons', '0006_second_figures'),
    ]

    operations = [
        migrations.AddField(
            model_name='coupon',
            name='claims_paused_at',
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
