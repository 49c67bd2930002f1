from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('coupons', '0011_deferred_event'),
    ]

    operations = [
        migrations.AddField(
            model_name='coupon',
            name='eligible_only',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.CreateModel(
            name='EligibleUser',
            fields=[
                ('eligible_user_id', models.BigAutoField(primary_key=True, serialize=False)),
                ('coupon_id', models.BigIntegerField()),
                ('user_id', models.BigIntegerField()),
            ],
            options={
                'db_table': 'coupon_eligible_user',
                'constraints': [models.UniqueConstraint(fields=('coupon_id', 'user_id'), name='eligible_user_once')],
            },
        ),
    ]
