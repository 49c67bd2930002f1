from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):

    dependencies = [
        ('coupons', '0003_disclosed_request'),
    ]

    operations = [
        migrations.AddField(
            model_name='coupon',
            name='adopted_count',
            field=models.BigIntegerField(db_default=0, editable=False),
        ),
        migrations.AddConstraint(
            model_name='coupon',
            constraint=models.CheckConstraint(condition=Q(adopted_count__gte=0, adopted_count__lte=F('issued_count')), name='coupon_adopted_were_issued'),
        ),
    ]
