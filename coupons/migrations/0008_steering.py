import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('coupons', '0007_claims_paused'),
    ]

    operations = [
        migrations.CreateModel(
            name='Steering',
            fields=[
                ('steering_id', models.BigAutoField(primary_key=True, serialize=False)),
                ('coupon_id', models.BigIntegerField(null=True)),
                ('action', models.CharField(max_length=20)),
                ('who', models.CharField(max_length=150)),
                ('why', models.CharField(max_length=255)),
                ('change', models.TextField()),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'coupon_steering',
                'indexes': [models.Index(fields=['coupon_id', 'steering_id'], name='steering_of_coupon')],
            },
        ),
    ]
