"""What the audit log says, in a reader's words; a code without words is shown as it is."""

import json
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

FAMILIES = {
    "alias": gettext_lazy("Aliases and routes"),
    "application": gettext_lazy("Applications"),
    "audit": gettext_lazy("The audit log"),
    "config": gettext_lazy("config/hub.json"),
    "credential": gettext_lazy("Refused credentials"),
    "dataset": gettext_lazy("Data sets"),
    "factor": gettext_lazy("Second factors"),
    "file": gettext_lazy("Files"),
    "identity": gettext_lazy("Connected sign-ons"),
    "job": gettext_lazy("Training jobs"),
    "key": gettext_lazy("Keys"),
    "key_ring": gettext_lazy("Encryption keys"),
    "limit": gettext_lazy("Limits"),
    "login": gettext_lazy("Signing in"),
    "mlflow": gettext_lazy("Notes in MLflow"),
    "model": gettext_lazy("Models"),
    "permission": gettext_lazy("Missing rights"),
    "price": gettext_lazy("Prices"),
    "provider": gettext_lazy("Sign-on providers"),
    "role": gettext_lazy("Roles"),
    "secret": gettext_lazy("Secrets"),
    "service_account": gettext_lazy("Service accounts"),
    "session": gettext_lazy("Signed-in browsers"),
    "sign_in_rules": gettext_lazy("Rules of signing in"),
    "socket": gettext_lazy("Refused websockets"),
    "team": gettext_lazy("Teams"),
    "token": gettext_lazy("Tokens of programs"),
    "user": gettext_lazy("People"),
}
ACTIONS = {
    "alias.change": gettext_lazy("changed where an alias leads"),
    "alias.create": gettext_lazy("made an alias"),
    "alias.remove": gettext_lazy("removed an alias"),
    "alias.roll_back": gettext_lazy("rolled an alias back"),
    "application.add": gettext_lazy("added an application"),
    "application.allow": gettext_lazy("let an application in"),
    "application.end_access": gettext_lazy("took an application's access back"),
    "application.remove": gettext_lazy("removed an application"),
    "audit.checkpoint": gettext_lazy("removed old rows of the log"),
    "audit.export": gettext_lazy("took the log as a file"),
    "audit.restore": gettext_lazy("accepted an older log"),
    "config.change": gettext_lazy("found another config/hub.json at the start"),
    "credential.refuse": gettext_lazy("showed a credential that was refused"),
    "dataset.add": gettext_lazy("brought a data set"),
    "dataset.check": gettext_lazy("checked a data set"),
    "dataset.remove": gettext_lazy("removed a data set"),
    "dataset.version": gettext_lazy("brought a version of a data set"),
    "dataset.withdraw": gettext_lazy("withdrew a version of a data set"),
    "factor.add": gettext_lazy("set up a second factor"),
    "factor.remove": gettext_lazy("removed a second factor"),
    "factor.renew_codes": gettext_lazy("made new recovery codes"),
    "file.add": gettext_lazy("uploaded a file"),
    "file.give_up": gettext_lazy("gave up a file that came in parts"),
    "file.upload": gettext_lazy("began to upload a file in parts"),
    "file.remove": gettext_lazy("removed a file"),
    "identity.add": gettext_lazy("connected a sign-on"),
    "identity.remove": gettext_lazy("took a sign-on apart"),
    "job.export": gettext_lazy("had the result of a training exported"),
    "job.export_remove": gettext_lazy("removed an export of a training"),
    "job.promote": gettext_lazy("put the result of a training in use"),
    "job.roll_back": gettext_lazy("took the result of a training back"),
    "job.move": gettext_lazy("saw a training come further"),
    "job.remove": gettext_lazy("removed a training"),
    "job.checkpoints_remove": gettext_lazy("removed old checkpoints of a training"),
    "job.stop": gettext_lazy("stopped a training"),
    "job.submit": gettext_lazy("asked for a training"),
    "key.issue": gettext_lazy("issued a key"),
    "key.many_addresses": gettext_lazy("used a key from very many addresses"),
    "key.new_address": gettext_lazy("used a key from a new address"),
    "key.revoke": gettext_lazy("revoked a key"),
    "key.rotate": gettext_lazy("rotated a key"),
    "key_ring.pepper.forget": gettext_lazy("forgot old peppers of keys"),
    "key_ring.pepper.renew": gettext_lazy("made a new pepper for keys"),
    "key_ring.rotate": gettext_lazy("made a new encryption key"),
    "limit.drop": gettext_lazy("took limits away"),
    "limit.put": gettext_lazy("set limits"),
    "login.done": gettext_lazy("signed in"),
    "login.end": gettext_lazy("signed out"),
    "login.fail": gettext_lazy("failed to sign in"),
    "mlflow.note": gettext_lazy("wrote a note in MLflow"),
    "model.add": gettext_lazy("added a model"),
    "model.arrive": gettext_lazy("brought a model's files"),
    "model.cancel": gettext_lazy("stopped adding a model"),
    "model.change": gettext_lazy("changed a model"),
    "model.load": gettext_lazy("loaded a model"),
    "model.remove": gettext_lazy("removed a model"),
    "model.retry": gettext_lazy("tried to add a model again"),
    "model.unload": gettext_lazy("unloaded a model"),
    "model.upload": gettext_lazy("uploaded a model"),
    "model.verify": gettext_lazy("had the files of a model hashed again"),
    "permission.refuse": gettext_lazy("asked for a right that was missing"),
    "price.drop": gettext_lazy("took a price away"),
    "price.put": gettext_lazy("set a price"),
    "provider.add": gettext_lazy("added a sign-on provider"),
    "provider.change": gettext_lazy("changed a sign-on provider"),
    "provider.remove": gettext_lazy("removed a sign-on provider"),
    "role.change": gettext_lazy("changed a role"),
    "role.create": gettext_lazy("made a role"),
    "role.remove": gettext_lazy("removed a role"),
    "secret.forget": gettext_lazy("removed a secret"),
    "secret.set": gettext_lazy("set a secret"),
    "service_account.change": gettext_lazy("changed a service account"),
    "service_account.create": gettext_lazy("made a service account"),
    "service_account.remove": gettext_lazy("removed a service account"),
    "session.end": gettext_lazy("signed a browser out"),
    "sign_in_rules.change": gettext_lazy("changed what signing in asks for"),
    "socket.refuse": gettext_lazy("was not let into a websocket"),
    "team.add_member": gettext_lazy("took somebody into a team"),
    "team.change": gettext_lazy("changed a team"),
    "team.change_member": gettext_lazy("changed a place in a team"),
    "team.create": gettext_lazy("made a team"),
    "team.join": gettext_lazy("came into a team by a sign-on"),
    "team.leave": gettext_lazy("left a team by a sign-on"),
    "team.remove": gettext_lazy("removed a team"),
    "team.remove_member": gettext_lazy("took somebody out of a team"),
    "token.issue": gettext_lazy("signed a program in"),
    "token.reuse": gettext_lazy("showed a refresh token for the second time"),
    "token.revoke": gettext_lazy("signed a program out"),
    "token.revoke_all": gettext_lazy("signed all programs of somebody out"),
    "user.add": gettext_lazy("made an account by a sign-on"),
    "user.change": gettext_lazy("changed an account"),
    "user.create": gettext_lazy("made an account"),
    "user.password": gettext_lazy("chose a new password"),
    "user.remove": gettext_lazy("removed an account"),
    "user.role": gettext_lazy("got another role by a sign-on"),
}
ACTORS = {
    "user": "pencil",
    "key": "key",
    "service": "server-2",
    "nobody": "eye-off",
    "command": "code",
    "system": "settings",
}


def action_word(action: str) -> str:
    return str(ACTIONS.get(action, action))


def families() -> list[tuple[str, str]]:
    return sorted(((code, str(word)) for code, word in FAMILIES.items()), key=lambda one: one[1])


def actor_icon(kind: str) -> str:
    return ACTORS.get(kind, "eye-off")


def actor_word(kind: str, name: str) -> str:
    """Name who acted; a visitor and a process have no name of their own."""
    if kind == "nobody":
        return _("a visitor")
    if kind == "system":
        return _("the hub (%(process)s)") % {"process": name} if name else _("the hub")
    return _("%(name)s at the command line") % {"name": name} if kind == "command" else name


def value(found: Any) -> str:
    """Show a value as text; nothing of it is taken for markup."""
    if found is None or found == "":
        return _("none")
    if isinstance(found, bool):
        return _("yes") if found else _("no")
    if isinstance(found, str | int | float):
        return str(found)
    return json.dumps(found, ensure_ascii=False)
