"""What happened to a training, and why it is as it is, in the visitor's language."""

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from hub.dashboard import build_states, reasons, sentences

if TYPE_CHECKING:
    from training.models import JobEvent

SENTENCES = {
    r"Created fine-tuning job: (?P<job>\S+)": _("Created training %(job)s."),
    r"The job was asked to stop and register\.": _("It was asked to stop and register."),
    r"One step was measured\.": _("One step was measured."),
    r"Checkpoint at step (?P<n>\d+)\.": _("Checkpoint at step %(n)s."),
    r"Step (?P<n>\d+): validation loss=(?P<loss>[\d.a-z]+)": _(
        "Step %(n)s: validation loss %(loss)s."
    ),
    r"Exported as (?P<kind>\w+)\.": _("Exported as %(kind)s."),
    r"(?P<n>\d+) of (?P<all>\d+) rows left out, the first in line (?P<line>\d+)": _(
        "%(n)s of %(all)s rows were left out, the first in line %(line)s."
    ),
    r"(?P<n>\d+) of (?P<all>\d+) rows were longer than max_length and cut": _(
        "%(n)s of %(all)s rows were longer than max_length and cut."
    ),
    r"(?P<n>\d+) of (?P<all>\d+) rows are longer than max_length (?P<most>\d+): they will be cut\.": _(
        "%(n)s of %(all)s rows are longer than max_length %(most)s: they will be cut."
    ),
    r"(?P<n>\d+) of (?P<all>\d+) rows are longer than max_length (?P<most>\d+): they have nothing to learn before"
    r" that and will be left out\.": _(
        "%(n)s of %(all)s rows are longer than max_length %(most)s: they have nothing to learn before that and will be"
        " left out."
    ),
    r"Its rows are being counted with its base\.": _("Its rows are being counted with its base."),
    r"this model mixes packed rows: they are batched as they are": _(
        "This model mixes packed rows: they are batched as they are."
    ),
    r"the result could not be evaluated: (?P<why>.+)": _(
        "The result could not be evaluated: %(why)s"
    ),
    r"It was paused by a person\.": _("It was paused by a person."),
    r"It was paused\.": _("It was paused."),
    r"paused after step (?P<n>\d+)\.": _("It was paused after step %(n)s."),
    r"Disk full: (?P<why>.+)": _("The disk is full: %(why)s"),
    r"The quota of this user is (?P<limit>\d+) minutes of training in 30 days, of which"
    r" (?P<left>\d+) are left\. It keeps its last checkpoint, .+": _(
        "The minutes of training of this person are used up: of %(limit)s in 30 days %(left)s are"
        " left. Its last checkpoint is kept; resume it when there are minutes again."
    ),
    r"The quota of this team is (?P<limit>\d+) minutes of training in 30 days, of which"
    r" (?P<left>\d+) are left\. It keeps its last checkpoint, .+": _(
        "The minutes of training of this team are used up: of %(limit)s in 30 days %(left)s are"
        " left. Its last checkpoint is kept; resume it when there are minutes again."
    ),
    r"The quota of this user is (?P<limit>\d+) bytes of storage, of which"
    r" (?P<left>\d+) are left\. It keeps its last checkpoint, .+": _(
        "The storage of this person is used up: of %(limit)s bytes %(left)s are left. Its last"
        " checkpoint is kept; resume it when there is room again."
    ),
    r"The quota of this team is (?P<limit>\d+) bytes of storage, of which"
    r" (?P<left>\d+) are left\. It keeps its last checkpoint, .+": _(
        "The storage of this team is used up: of %(limit)s bytes %(left)s are left. Its last"
        " checkpoint is kept; resume it when there is room again."
    ),
    r"(?P<n>\d+) checkpoints were removed, (?P<days>\d+) days after its end\.": _(
        "%(n)s checkpoints were removed, %(days)s days after its end."
    ),
    r"It gave its memory back, and goes on when there is room: (?P<reason>.+)\.": _(
        "It gave its memory back, and goes on when there is room: %(reason)s."
    ),
    r"Its worker ended; it goes on\.": _("Its worker ended; it goes on."),
    r"It ran out of memory; it goes on with half the batch\.": _(
        "It ran out of memory; it goes on with half the batch."
    ),
    r"Its process was ended; it goes on from the last checkpoint\.": _(
        "Its process was ended; it goes on from the last checkpoint."
    ),
    r"Its process said nothing for (?P<n>\d+) s: it was ended\.": _(
        "Its process said nothing for %(n)s s: it was ended."
    ),
    r"Its memory cannot be planned yet: (?P<reason>.+)": _(
        "Its memory cannot be planned yet: %(reason)s"
    ),
    r"The training process ended (?P<n>\d+) times without progress\.": _(
        "The training process ended %(n)s times without progress."
    ),
    r"The loss of step (?P<n>\d+) is (?P<loss>\S+); lower the learning rate\.": _(
        "The loss of step %(n)s is %(loss)s; lower the learning rate."
    ),
    r"The file has no rows\.": _("The file has no rows."),
    r"None of (?P<n>\d+) rows has anything to learn \((?P<why>.+)\)\.": _(
        "None of %(n)s rows has anything to learn (%(why)s)."
    ),
    r"(?P<file>\S+) is not the file that was checked\.": _(
        "%(file)s is not the file that was checked."
    ),
    r"Checkpoints and result take (?P<need>[\d.]+ .?B), and (?P<free>[\d.]+ .?B) are free\.": _(
        "Checkpoints and result take %(need)s, and %(free)s are free."
    ),
}


def words(text: str) -> str:
    """Translate what the hub says of a training; a process's own words stay as they are."""
    return sentences.said(text, SENTENCES, reading={"reason": reasons.words}) or reasons.words(text)


def event_text(event: "JobEvent") -> str:
    """Say what happened; of a change of state, the new one and why."""
    look = build_states.JOBS.get(event.data.get("state", "")) if event.type == "state" else None
    if look is None:
        return words(event.message)
    return f"{str(look.word).capitalize()}. {words(event.data.get('reason', ''))}".strip()
