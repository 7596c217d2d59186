import accounts.models.teams
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0008_default_team'),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='team',
            field=models.ForeignKey(default=accounts.models.teams.default_team_id, on_delete=django.db.models.deletion.PROTECT, related_name='api_keys', to='accounts.team'),
        ),
    ]
