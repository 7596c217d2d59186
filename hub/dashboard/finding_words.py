"""What is wrong with a row of a data set, in the visitor's language: the check writes English."""

from django.utils.translation import gettext_lazy as _

from hub.dashboard import sentences

PREFIX = "validation: "  # of what was brought for validation
NAMED = {  # what a value is, or a text holds
    "an object": _("an object"),
    "a list": _("a list"),
    "a text": _("a text"),
    "true or false": _("true or false"),
    "a number": _("a number"),
    "an AWS access key": _("an AWS access key"),
    "an OpenAI key": _("an OpenAI key"),
    "a key of this hub": _("a key of this hub"),
    "a Hugging Face token": _("a Hugging Face token"),
    "a GitHub token": _("a GitHub token"),
    "a Slack token": _("a Slack token"),
    "a Google key": _("a Google key"),
    "a private key": _("a private key"),
    "a signed token": _("a signed token"),
    "a password": _("a password"),
    "an e-mail address": _("an e-mail address"),
    "a card number": _("a card number"),
    "a bank account": _("a bank account"),
    "a phone number": _("a phone number"),
}
SENTENCES = {
    r"(?P<path>\S+) must be a list, but is (?P<kind>.+)\.": _(
        "%(path)s must be a list, but is %(kind)s."
    ),
    r"(?P<path>\S+) must be an object, but is (?P<kind>.+)\.": _(
        "%(path)s must be an object, but is %(kind)s."
    ),
    r"(?P<path>\S+) must be a text, but is (?P<kind>.+)\.": _(
        "%(path)s must be a text, but is %(kind)s."
    ),
    r"(?P<path>\S+) has (?P<n>\d+) messages\.": _("%(path)s has %(n)s messages."),
    r"(?P<path>\S+) has no role\.": _("%(path)s has no role."),
    r"(?P<path>\S+) has the unknown role (?P<name>.+)\.": _(
        "%(path)s has the unknown role %(name)s."
    ),
    r"(?P<path>\S+) has the unknown field (?P<name>.+)\.": _(
        "%(path)s has the unknown field %(name)s."
    ),
    r"(?P<path>\S+) is missing\.": _("%(path)s is missing."),
    r"The (?P<path>completion|text|prompt) is empty\.": _("The %(path)s is empty."),
    r"(?P<path>\S+) is empty\.": _("%(path)s is empty."),
    r"(?P<path>\S+) is of the type (?P<name>.+)\.": _("%(path)s is of the type %(name)s."),
    r"(?P<path>\S+) must be a part of the type text\.": _(
        "%(path)s must be a part of the type text."
    ),
    r"(?P<path>\S+): only the assistant's messages have a weight\.": _(
        "%(path)s: only the assistant's messages have a weight."
    ),
    r"(?P<path>\S+) is (?P<value>.+), not 0 or 1\.": _("%(path)s is %(value)s, not 0 or 1."),
    r"(?P<path>\S+) is a (?P<role>\S+) message, but not the first\.": _(
        "%(path)s is a %(role)s message, but not the first."
    ),
    r"(?P<path>\S+) follows another (?P<role>\S+) message\.": _(
        "%(path)s follows another %(role)s message."
    ),
    r"No message is the assistant's: nothing can be learned\.": _(
        "No message is the assistant's: nothing can be learned."
    ),
    r"The last message is of the role (?P<role>\S+)\.": _(
        "The last message is of the role %(role)s."
    ),
    r"No message is the user's\.": _("No message is the user's."),
    r"All answers have the weight 0\.": _("All answers have the weight 0."),
    r"(?P<path>\S+) answers a call that no message before it makes\.": _(
        "%(path)s answers a call that no message before it makes."
    ),
    r"(?P<path>\S+) must be a list of calls\.": _("%(path)s must be a list of calls."),
    r"(?P<path>\S+) names no function\.": _("%(path)s names no function."),
    r"(?P<path>\S+): the arguments are no JSON object\.": _(
        "%(path)s: the arguments are no JSON object."
    ),
    r"(?P<path>\S+) calls (?P<name>.+), which tools does not list\.": _(
        "%(path)s calls %(name)s, which tools does not list."
    ),
    r"The row is no JSON object\.": _("The row is no JSON object."),
    r"The row has no field (?P<name>.+)\.": _("The row has no field %(name)s."),
    r"The row has no prompt\.": _("The row has no prompt."),
    r"The field (?P<name>.+) is not used\.": _("The field %(name)s is not used."),
    r"(?P<path>\S+) must be a list\.": _("%(path)s must be a list."),
    r"(?P<path>\S+) must be a text\.": _("%(path)s must be a text."),
    r"(?P<path>\S+) is of the unknown speaker (?P<name>.+)\.": _(
        "%(path)s is of the unknown speaker %(name)s."
    ),
    r"(?P<path>\S+) must be a question and an answer\.": _(
        "%(path)s must be a question and an answer."
    ),
    r"input must be an object with messages\.": _("input must be an object with messages."),
    r"The chosen and the rejected answer are the same\.": _(
        "The chosen and the rejected answer are the same."
    ),
    r"The row is the same as row (?P<n>\d+)\.": _("The row is the same as row %(n)s."),
    r"Row (?P<n>\d+) has the same question and another answer\.": _(
        "Row %(n)s has the same question and another answer."
    ),
    r"The row is in the training data too, as row (?P<n>\d+)\.": _(
        "The row is in the training data too, as row %(n)s."
    ),
    r"The file is empty\.": _("The file is empty."),
    r"The file has no rows\.": _("The file has no rows."),
    r"The file is not text: it holds zero bytes\.": _("The file is not text: it holds zero bytes."),
    r"The row has more than (?P<n>[\d,]+) bytes\.": _("The row has more than %(n)s bytes."),
    r"Byte (?P<n>\d+) of the row is not UTF-8\.": _("Byte %(n)s of the row is not UTF-8."),
    r"The row is nested too deep\.": _("The row is nested too deep."),
    r"No JSON from byte (?P<n>\d+) on: (?P<what>.+)\.": _("No JSON from byte %(n)s on: %(what)s."),
    r"(?P<name>\S+) is not JSON\.": _("%(name)s is not JSON."),
    r"The name (?P<name>.+) comes twice in one object\.": _(
        "The name %(name)s comes twice in one object."
    ),
    r"A JSON list this large is read as JSONL: a row a line\.": _(
        "A JSON list this large is read as JSONL: a row a line."
    ),
    r"The row cannot be read: (?P<what>.+)\.": _("The row cannot be read: %(what)s."),
    r"The row has (?P<n>\d+) cells, the first line (?P<all>\d+) names\.": _(
        "The row has %(n)s cells, the first line %(all)s names."
    ),
    r"The row holds bytes that are not UTF-8\.": _("The row holds bytes that are not UTF-8."),
    r"The paragraph holds bytes that are not UTF-8\.": _(
        "The paragraph holds bytes that are not UTF-8."
    ),
    r"The file cannot be read from here on: (?P<what>.+)": _(
        "The file cannot be read from here on: %(what)s"
    ),
    r"No row is an object with named fields\.": _("No row is an object with named fields."),
    r"No known format has these fields: (?P<names>.+)\.": _(
        "No known format has these fields: %(names)s."
    ),
    r"Only (?P<n>\d+) rows can be learned\.": _("Only %(n)s rows can be learned."),
    r"(?P<path>\S+) holds what looks like (?P<held>.+)\.": _(
        "%(path)s holds what looks like %(held)s."
    ),
    r"(?P<path>\S+) holds control characters\.": _("%(path)s holds control characters."),
    r"(?P<path>\S+) holds the sign for a damaged character\.": _(
        "%(path)s holds the sign for a damaged character."
    ),
    r"(?P<path>\S+) holds (?P<held>.+)\.": _("%(path)s holds %(held)s."),
    r"(?P<n>\d+) tokens lie behind max_length (?P<all>\d+)\.": _(
        "%(n)s tokens lie behind max_length %(all)s."
    ),
    r"The answer lies behind max_length; (?P<n>\d+) tokens are too many\.": _(
        "The answer lies behind max_length; %(n)s tokens are too many."
    ),
    r"Nothing of this row would be learned\.": _("Nothing of this row would be learned."),
    r"(?P<path>\S+): the template hides where this turn lies": _(
        "%(path)s: the template hides where this turn lies"
    ),
    r"the chat template changes what the assistant says, so that it cannot be told apart": _(
        "the chat template changes what the assistant says, so that it cannot be told apart"
    ),
    r"the chat template refuses this row: (?P<what>.+)": _(
        "the chat template refuses this row: %(what)s"
    ),
    r"a tool call's arguments are no JSON": _("a tool call's arguments are no JSON"),
}


def words(message: str) -> str:
    """Translate a finding; what is not known stays as it is."""
    bare = message.removeprefix(PREFIX)
    prefix = str(_("validation: ")) if bare != message else ""
    return prefix + (sentences.said(bare, SENTENCES, NAMED) or bare)
