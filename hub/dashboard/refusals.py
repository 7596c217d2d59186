"""Refusals of the catalog in the visitor's language, each with what to do. `reasons` looks here too."""

from django.utils.translation import gettext_lazy as _

SENTENCES = {
    r"there is a model named `(?P<name>.+)` already": _(
        "there is a model named %(name)s already; choose another name"
    ),
    r"`(?P<name>.+)` is an alias; choose another name": _(
        "%(name)s is a name that leads to a model; choose another one"
    ),
    r"`(?P<name>.+)` is the name of a starter model": _(
        "%(name)s is the name of a starter model; choose another one"
    ),
    r"a name has 1 to 128 letters, digits and \. _ : @ \+ - with / between parts": _(
        "a name has 1 to 128 letters, digits and . _ : @ + - with / between parts"
    ),
    r"a name cannot end with '(?P<word>\w+)'": _("a name cannot end with %(word)s"),
    r"a model_id looks like `organisation/model`": _("a hub's id looks like organisation/model"),
    r"a revision is a branch, a tag or a commit": _("a revision is a branch, a tag or a commit"),
    r"this source needs `(?P<field>\w+)`": _("%(field)s is empty: this source needs it"),
    r"there is nothing that may be read at this path; models are read from (?P<roots>.+) "
    r"\(AI_HUB_IMPORT_ROOTS names more\)": _(
        "there is nothing that may be read at this path; models are read from %(roots)s "
        "(AI_HUB_IMPORT_ROOTS names more)"
    ),
    r"`(?P<name>.+)` is used by (?P<users>.+); remove those first": _(
        "%(name)s is used by %(users)s; remove those first"
    ),
    r"`(?P<name>.+)` is a starter model: it would come back at the next start": _(
        "%(name)s is a starter model: it would come back at the next start"
    ),
    r"`(?P<name>.+)` is (?P<state>\w+): there is nothing to cancel": _(
        "%(name)s is no longer on its way: there is nothing to stop"
    ),
    r"`(?P<name>.+)` is (?P<state>\w+): there is nothing to try again": _(
        "%(name)s has not failed: there is nothing to try again"
    ),
    r"the model has a context of (?P<n>\d+) tokens": _("the model has a context of %(n)s tokens"),
    r"the model hub (?P<hub>\S+) does not answer: (?P<why>.+); check that this machine reaches it, "
    r"or set AI_HUB_HF_ENDPOINT to another one": _(
        "the model hub %(hub)s does not answer (%(why)s); check that this machine reaches it, or "
        "set AI_HUB_HF_ENDPOINT to another one"
    ),
    r"the hub knows no (?P<id>\S+) at this revision": _(
        "the hub knows no %(id)s at this revision; look for a mistake in the id"
    ),
    r"(?P<id>\S+) is private, gated or not there: the hub wants a token that may read it "
    r"\(python3 manage\.py set_secret huggingface_token\)": _(
        "%(id)s is private, gated or not there: the hub wants a token that may read it "
        "(python3 manage.py set_secret huggingface_token)"
    ),
    r"(?P<id>\S+) holds no safetensors or GGUF file(?P<which>.*)": _(
        "%(id)s holds no safetensors or GGUF file%(which)s; only those are served"
    ),
    r"(?P<file>\S+): (?P<why>.+); what came is kept, run it again to resume": _(
        "%(file)s: %(why)s; what came is kept, try again to go on from there"
    ),
    r"the disk of the models became full: free some space and try again": _(
        "the disk of the models became full: free some space and try again"
    ),
    r"this needs (?P<need>\S+ MiB) and (?P<spare>\S+ MiB) that stay free, but the disk of the models "
    r"has (?P<free>\S+ MiB) left; free some, or set AI_HUB_MODELS to another disk": _(
        "this needs %(need)s and %(spare)s that stay free, but the disk of the models has %(free)s "
        "left; free some, or set AI_HUB_MODELS to another disk"
    ),
    r"its files are missing; run `python3 manage\.py fetch_models`": _(
        "its files are missing; run: python3 manage.py fetch_models"
    ),
    r"nothing is in it": _("nothing is in it"),
    r"(?P<name>\S+\.json) is missing": _("%(name)s is missing"),
    r"(?P<name>\S+\.json) is too large": _("%(name)s is too large"),
    r"(?P<name>\S+\.json) is no JSON object": _("%(name)s is no JSON object"),
    r"an address starts with http:// or https://": _("an address starts with http:// or https://"),
    r"an address has no user, query or fragment; use api_key": _(
        "an address has no user, query or fragment; the key has a field of its own"
    ),
    r"(?P<host>\S+) cannot be resolved or is no public address "
    r"\(AI_HUB_PRIVATE_UPSTREAMS=allow permits private ones\)": _(
        "%(host)s cannot be resolved or is no public address "
        "(AI_HUB_PRIVATE_UPSTREAMS=allow permits private ones)"
    ),
    r"there is no adapter_config\.json in this folder": _(
        "there is no adapter_config.json in this folder"
    ),
    r"this is an adapter(; add it with source `adapter`|, which needs a `base`)": _(
        "this is an adapter: choose its base"
    ),
    r"(?P<file>.+): a single file must be GGUF; give other models' folder": _(
        "%(file)s: a single file must be GGUF; give the folder of other models"
    ),
    r"(?P<file>.+) is cut off: (?P<size>[\d.]+ .?B) of it are missing": _(
        "%(file)s is cut off: %(size)s of it are missing; copy or download it again"
    ),
    r"`(?P<folder>.+)` holds no safetensors weights": _(
        "the folder %(folder)s holds no safetensors weights"
    ),
    r"`(?P<folder>.+)` holds no safetensors weights; (?P<file>.+) is a pickle, which is never loaded": _(
        "the folder %(folder)s holds no safetensors weights; %(file)s is a pickle, which is never "
        "loaded"
    ),
    r"no engine serves the architecture (?P<name>.+); served are (?P<usual>.+) and (?P<n>\d+) more, "
    r"see docs/models\.md": _(
        "no engine serves the architecture %(name)s; served are %(usual)s and %(n)s more, see "
        "docs/models.md"
    ),
    r"(?P<name>\S+) is (?P<size>.+), but (?P<why>.+) makes it (?P<wanted>.+); take files that "
    r"belong together": _(
        "%(name)s is %(size)s, but %(why)s makes it %(wanted)s; take files that belong together"
    ),
    r"its weights lack (?P<name>\S+), which (?P<why>.+) describes": _(
        "its weights lack %(name)s, which %(why)s describes"
    ),
    r"its weights hold layer (?P<n>\d+), but (?P<why>.+) says that it has (?P<count>\d+)": _(
        "its weights hold layer %(n)s, but %(why)s says that it has %(count)s"
    ),
    r"the weights of layer (?P<n>\d+) are missing; (?P<why>.+) counts (?P<count>\d+)": _(
        "the weights of layer %(n)s are missing; %(why)s counts %(count)s"
    ),
    r"(?P<why>config\.json|its header) does not say (?P<name>\w+), or no possible one": _(
        "%(why)s does not say %(name)s, or no possible one"
    ),
    r"config\.json shares (?P<keys>\d+) heads of keys among (?P<heads>\d+) of queries": _(
        "config.json shares %(keys)s heads of keys among %(heads)s of queries"
    ),
    r"(?P<name>\S+) is (?P<size>.+), its weight (?P<wanted>.+)": _(
        "%(name)s is %(size)s, its weight %(wanted)s"
    ),
    r"the index finds (?P<name>.+) in (?P<file>\S+), which does not hold it": _(
        "the index finds %(name)s in %(file)s, which does not hold it"
    ),
    r"(?P<file>\S+) holds (?P<name>\S+) again, which another part holds": _(
        "%(file)s holds %(name)s again, which another part holds"
    ),
    r"it is quantized as (?P<name>\S+), which no engine here computes; take its plain weights": _(
        "it is quantized as %(name)s, which no engine here computes; take its plain weights"
    ),
    r"it is quantized as (?P<name>\S+), which only vLLM computes here: name its Python in "
    r"AI_HUB_VLLM_PYTHON, or take the model's plain weights": _(
        "it is quantized as %(name)s, which only vLLM computes here: name its Python in AI_HUB_VLLM_PYTHON, or take the model's plain weights"
    ),
    r"llm_vllm is not set up on this hub: name the Python of an environment that holds vLLM in "
    r"AI_HUB_VLLM_PYTHON, and start the hub again": _(
        "llm_vllm is not set up on this hub: name the Python of an environment that holds vLLM in AI_HUB_VLLM_PYTHON, and start the hub again"
    ),
    r"(?P<name>.+) cannot be read: (?P<why>.+)": _("%(name)s cannot be read: %(why)s"),
    r"(?P<name>.+) is no name for a model's file": _("%(name)s is no name for a model's file"),
    r"config\.json has (?P<key>\S+) (?P<value>.+): it is a whole number above zero": _(
        "config.json has %(key)s %(value)s: it is a whole number above zero"
    ),
    r"config\.json has (?P<key>\S+) (?P<value>.+): it is a number above zero": _(
        "config.json has %(key)s %(value)s: it is a number above zero"
    ),
    r"config\.json has (?P<key>\S+) (?P<value>.+): it is a token's number": _(
        "config.json has %(key)s %(value)s: it is a token's number"
    ),
    r"config\.json has (?P<key>\S+) (?P<value>.+), which no engine knows: (?P<known>.+)": _(
        "config.json has %(key)s %(value)s, which no engine knows: %(known)s"
    ),
    r"(?P<name>.+) is no plain file": _("%(name)s is no plain file"),
    r"(?P<name>.+) is a link that leaves the folder": _(
        "%(name)s is a link that leaves the folder"
    ),
    r"tokenizer\.json is missing: nothing turns text into the model's tokens"
    r"(; (?P<packed>\S+) alone is not read: save it as tokenizer\.json with transformers)?": _(
        "tokenizer.json is missing: nothing turns text into the model's tokens"
    ),
    r"tokenizer\.json is no tokenizer that can be read: (?P<why>.+)": _(
        "tokenizer.json is no tokenizer that can be read: %(why)s"
    ),
    r"tokenizer\.json knows no tokens": _("tokenizer.json knows no tokens"),
    r"tokenizer\.json gives token (?P<n>\d+), but the model has vectors for (?P<rows>\d+) tokens: "
    r"they do not belong together": _(
        "tokenizer.json gives token %(n)s, but the model has vectors for %(rows)s tokens: they do not belong together"
    ),
    r"the model has no vector for (?P<names>.+): a request with one is refused": _(
        "the model has no vector for %(names)s: a request with one is refused"
    ),
    r"(the first token failed: )?the model computed what is no number \(NaN or infinity\): its weights "
    r"are damaged, or its `dtype` is too narrow for them": _(
        "the model computed what is no number (NaN or infinity): its weights are damaged, or its `dtype` is too narrow for them"
    ),
    r"config\.json asks for code of its own \(auto_map\), which is never run": _(
        "config.json asks for code of its own (auto_map), which is never run"
    ),
    r"(?P<n>\d+) files are too many to look into; add it, and it is judged once it is here": _(
        "%(n)s files are too many to look into; add it, and it is judged once it is here"
    ),
    r"its headers are too large to look into; add it, and it is judged here": _(
        "its headers are too large to look into; add it, and it is judged once it is here"
    ),
    r"the header of (?P<name>.+) is too long to be judged before it is here": _(
        "the header of %(name)s is too long to be judged before it is here"
    ),
    r"an upload has 1 to (?P<n>\d+) different files": _("an upload has 1 to %(n)s different files"),
    r"(?P<name>.+) is not used: code and pickles are never loaded": _(
        "%(name)s is not used: code and pickles are never loaded"
    ),
    r"(?P<name>.+) beside it is not taken: give a folder of the two, and the model sees": _(
        "%(name)s beside it is not taken: give a folder of the two, and the model sees"
    ),
    r"there is an alias named `(?P<name>.+)` already": _(
        "there is a name %(name)s already; change that one"
    ),
    r"a name needs a target": _("a name needs a target: choose a model"),
    r"`(?P<name>.+)` is a model; a model's own name means that model": _(
        "%(name)s is a model; a model's own name means that model"
    ),
    r"`(?P<name>.+)` is set by model_mapping in the config file": _(
        "%(name)s is set by model_mapping in the configuration file"
    ),
    r"a route has 1 to (?P<n>\d+) different targets": _("a route has 1 to %(n)s different targets"),
    r"there is no model `(?P<name>.+)`; an alias leads to models, not to other aliases": _(
        "there is no model %(name)s; an alias leads to models, not to other aliases"
    ),
    r"there is no model `(?P<name>.+)`": _("there is no model %(name)s"),
    r"the targets of a route are of one kind": _(
        "the targets of a route are of one kind: all chat, or all embeddings"
    ),
    r"one target at least has a weight": _("one target at least has a weight above 0"),
    r"only a chat has a system prompt": _("only a chat has a system prompt"),
    r"a weight is a number from 0 to (?P<n>\d+)": _("a weight is a number from 0 to %(n)s"),
    r"a former target is gone: (?P<why>.+)": _("a former target is gone: %(why)s"),
    r"`(?P<name>.+)` cannot have a default here; known: (?P<known>.+)": _(
        "%(name)s cannot have a default here; known: %(known)s"
    ),
    r"(?P<field>\w+): Expected `(int|float)` (?P<bound>[<>]=) (?P<n>\S+)": _(
        "%(field)s must be a number %(bound)s %(n)s"
    ),
    r"its chat template does not compile, so chats are rendered plainly: (?P<more>.+)": _(
        "its chat template does not compile, so chats are rendered plainly: %(more)s"
    ),
    r"converted for (?P<engine>\w+) when it came": _("converted for %(engine)s when it came"),
    r"it is converted for (?P<engine>\w+)": _("it is converted for %(engine)s"),
    r"The quota of this user is (?P<limit>\d+) minutes of training in 30 days, of which"
    r" (?P<left>\d+) are left\.?": _(
        "of the %(limit)s minutes that this person may train in 30 days %(left)s are left"
    ),
    r"The quota of this team is (?P<limit>\d+) minutes of training in 30 days, of which"
    r" (?P<left>\d+) are left\.?": _(
        "of the %(limit)s minutes that this team may train in 30 days %(left)s are left"
    ),
    r"the server refuses this key": _("the server refuses this key"),
    r"the server has no (?P<model>\S+); it has (?P<others>.+)": _(
        "the server has no %(model)s; it has %(others)s"
    ),
    r"the server does not answer: (?P<why>.+)": _("the server does not answer: %(why)s"),
    r"the server answers (?P<status>\d+); is this the address of its API\?": _(
        "the server answers %(status)s; is this the address of its API?"
    ),
    r"the server's answer is no list of models of OpenAI's API": _(
        "the server's answer is no list of models of OpenAI's API"
    ),
    r"the model hub cannot be searched: it answers (?P<status>\d+)": _(
        "the model hub cannot be searched: it answers %(status)s"
    ),
    r"`(?P<name>\S+)` of the adapter holds what is no number \(NaN or infinity\)": _(
        "`%(name)s` of the adapter holds what is no number (NaN or infinity)"
    ),
    r"`(?P<name>\S+)` of the adapter holds (?P<n>\S+); no more than (?P<limit>\d+) can be computed with in "
    r"half precision": _(
        "`%(name)s` of the adapter holds %(n)s; no more than %(limit)s can be computed with in half "
        "precision"
    ),
    r"this upload is complete": _("this upload is complete"),
    r"(?P<name>\S+) has another content than when it came": _(
        "%(name)s has another content than when it came"
    ),
    r"(?P<name>\S+) was not there when it came": _("%(name)s was not there when it came"),
    r"(?P<name>\S+) has (?P<n>\d+) bytes, not (?P<wanted>\d+)": _(
        "%(name)s has %(n)s bytes, not %(wanted)s"
    ),
    r"(?P<name>\S+) is missing": _("%(name)s is missing"),
    r"(?P<name>\S+) is not there": _("%(name)s is not there"),
    r"it is converted from (?P<name>\S+)": _("it is converted from %(name)s"),
    r"the files of (?P<name>.+) are not there: (?P<path>.+)": _(
        "the files of %(name)s are not there: %(path)s"
    ),
}
# What the system says of a connection or a file.
CAUSES = {
    "its header": _("its header"),
    "Connection refused": _("connection refused"),
    "Name or service not known": _("its name is not known"),
    "Temporary failure in name resolution": _("its name cannot be looked up now"),
    "timed out": _("no answer in time"),
    "No space left on device": _("the disk is full"),
    "Permission denied": _("this is not allowed"),
}
