import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


def refuse_with_rows(apps, schema_editor):
    """Deferred events are accepted requests: without their table nobody would ever decide them."""
    if apps.get_model("coupons", "DeferredEvent").objects.exists():
        raise RuntimeError(
            "coupon_deferred_event has rows: resume the deciding of their coupons "
            "(manage.py steer resume-deciding) and wait until the table is empty"
        )


class Migration(migrations.Migration):

    dependencies = [
        ('coupons', '0010_refusal'),
    ]

    operations = [
        migrations.AddField(
            model_name='coupon',
            name='deciding_paused_at',
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name='coupon',
            name='deferred_count',
            field=models.BigIntegerField(db_default=0, editable=False),
        ),
        migrations.AddIndex(
            model_name='coupon',
            index=models.Index(fields=['deciding_paused_at'], name='coupon_deciding_paused'),
        ),
        migrations.CreateModel(
            name='DeferredEvent',
            fields=[
                ('deferred_id', models.BigAutoField(primary_key=True, serialize=False)),
                ('coupon', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='coupons.coupon')),
                ('request_id', models.UUIDField(unique=True)),
                ('kafka_partition', models.IntegerField()),
                ('kafka_offset', models.BigIntegerField()),
                ('written_ms', models.BigIntegerField(null=True)),
                ('event_key', models.BinaryField(null=True)),
                ('event_value', models.BinaryField()),
                ('event_headers', models.BinaryField(null=True)),
                ('deferred_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'coupon_deferred_event',
                'indexes': [models.Index(fields=['coupon', 'deferred_id'], name='deferred_of_coupon')],
            },
        ),
        # Undone last to first: this one refuses before anything is taken away.
        migrations.RunPython(migrations.RunPython.noop, refuse_with_rows),
    ]
