"""URLs of the dashboard, at the root of the site."""

from django.contrib.auth.decorators import login_not_required
from django.urls import URLPattern, URLResolver, path
from django.views.decorators.http import require_POST
from django.views.i18n import set_language

from hub.dashboard.views import (
    account,
    adding,
    aliases,
    entry,
    keys,
    model_acts,
    models,
    overview,
    playground,
    scheduler,
    setup,
    system,
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", overview.overview, name="overview"),
    path("panels/<slug:name>/", overview.panel, name="panel"),
    path("palette/", overview.palette, name="palette"),
    path("login/", entry.sign_in, name="login"),
    path("logout/", entry.sign_out, name="logout"),
    path("account/", account.account, name="account"),
    path("language/", login_not_required(require_POST(set_language)), name="set_language"),
    path("setup/<str:token>/", setup.link, name="setup"),
    path("welcome/", setup.welcome, name="welcome"),
    path("models/", models.models, name="models"),
    path("models/add/upload/look/", adding.look, name="model_look"),
    path("models/add/<slug:source>/", adding.add, name="model_add"),
    path("models/load/<path:name>/", model_acts.load, name="model_load"),
    path("models/unload/<path:name>/", model_acts.unload, name="model_unload"),
    path("models/settings/<path:name>/", models.change, name="model_settings"),
    path("models/pin/<path:name>/", model_acts.pin, name="model_pin"),
    path("models/retry/<path:name>/", model_acts.retry, name="model_retry"),
    path("models/cancel/<path:name>/", model_acts.cancel, name="model_cancel"),
    path("models/remove/<path:name>/", model_acts.remove, name="model_remove"),
    path("models/about/<path:name>/", models.model, name="model"),
    path("aliases/", aliases.aliases, name="aliases"),
    path("aliases/new/", aliases.new, name="alias_new"),
    path("aliases/edit/<path:name>/", aliases.edit, name="alias_edit"),
    path("aliases/share/<path:name>/", aliases.share, name="alias_share"),
    path("aliases/rollback/<path:name>/", aliases.roll_back, name="alias_roll_back"),
    path("aliases/remove/<path:name>/", aliases.remove, name="alias_remove"),
    path("playground/", playground.playground, name="playground"),
    path("keys/", keys.keys, name="keys"),
    path("keys/new/", keys.new, name="key_new"),
    path("keys/<slug:public_id>/revoke/", keys.revoke, name="key_revoke"),
    path("scheduler/", scheduler.scheduler, name="scheduler"),
    path("system/", system.system, name="system"),
]
