from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('coupons', '0008_steering'),
    ]

    operations = [
        migrations.AddField(
            model_name='coupon',
            name='is_rehearsal',
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
