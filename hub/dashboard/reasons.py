"""The node's reasons in the visitor's language: the node writes English, the pages match its words."""

import re
from collections.abc import Callable, Mapping

from django.utils.translation import gettext_lazy, ngettext

from hub.dashboard import refusals

_ = gettext_lazy

SENTENCES = {
    r"ready after (?P<time>[\d.]+) s": _("ready after %(time)s s"),
    r"asked for by an operator": _("asked for by an operator"),
    r"asked for by an operator, priority (?P<priority>-?\d+)": _(
        "asked for by an operator, priority %(priority)s"
    ),
    r"asked for by a request": _("asked for by a request"),
    r"asked for by a request, priority (?P<priority>-?\d+)": _(
        "asked for by a request, priority %(priority)s"
    ),
    r"makes room, wanted by (?P<name>.+) \((?P<n>\d+) waiting\)": _(
        "makes room, wanted by %(name)s (%(n)s waiting)"
    ),
    r"makes room for training (?P<name>\S+)": _("makes room for training %(name)s"),
    r"waits for its turn": _("waits for its turn"),
    r"(?P<size>[\d.]+ .?B) on (?P<device>\S+), at once": _("%(size)s on %(device)s, at once"),
    r"(?P<size>[\d.]+ .?B) on (?P<device>\S+), after (?P<time>[\d.]+) s": _(
        "%(size)s on %(device)s, after %(time)s s"
    ),
    r"given back after (?P<time>\d+) s": _("given back after %(time)s s"),
    r"makes room, replica (?P<n>\d+) of (?P<all>\d+)": _("makes room, replica %(n)s of %(all)s"),
    r"replica (?P<n>\d+) of (?P<all>\d+) on (?P<device>\S+)": _(
        "replica %(n)s of %(all)s on %(device)s"
    ),
    r"the node ended, and its engines with it": _("the node ended, and its engines with it"),
    r"fewer replicas are wanted": _("fewer replicas are wanted"),
    r"priority (?P<priority>-?\d+), and another replica of it stays": _(
        "priority %(priority)s, and another replica of it stays"
    ),
    r"(?P<device>cuda.+): most memory is left free there": _(
        "%(device)s: most memory is left free there"
    ),
    r"(?P<device>cuda.+): nobody has to leave there": _("%(device)s: nobody has to leave there"),
    r"(?P<device>cuda.+): fewest models have to leave there, and they are the cheapest to load again": _(
        "%(device)s: fewest models have to leave there, and they are the cheapest to load again"
    ),
    r"priority (?P<priority>-?\d+), idle for (?P<time>\d+) s, (?P<chance>\d+)% likely to be wanted "
    r"within a minute, loads in (?P<load>[\d.]+) s": _(
        "priority %(priority)s, idle for %(time)s s, %(chance)s%% likely to be wanted within a "
        "minute, loads in %(load)s s"
    ),
    r"(?P<name>.+) is loading": _("%(name)s is loading"),
    r"(?P<name>.+) is about to be loaded": _("%(name)s is about to be loaded"),
    r"(?P<name>.+) is busy with (?P<n>\d+) requests": _("%(name)s is busy with %(n)s requests"),
    r"waits until (?P<name>.+) has left the memory": _("waits until %(name)s has left the memory"),
    r"waits a little: (?P<name>.+) would have to go, and may be wanted again soon": _(
        "waits a little: %(name)s would have to go, and may be wanted again soon"
    ),
    r"woken after (?P<time>[\d.]+) s": _("woken after %(time)s s"),
    r"(?P<size>[\d.]+ .?B) of main memory keep it at hand": _(
        "%(size)s of main memory keep it at hand"
    ),
    r"its sleep ends: the memory is wanted": _("its sleep ends: the memory is wanted"),
    r"its sleep ends: another engine serves its model": _(
        "its sleep ends: another engine serves its model"
    ),
    r"it did not fall asleep in time": _("it did not fall asleep in time"),
    r"its sleep went wrong \((?P<why>.+)\): loaded anew": _(
        "its sleep went wrong (%(why)s): loaded anew"
    ),
    r"replaced by a newer version": _("replaced by a newer version"),
    r"it was removed": _("it was removed"),
    r"`(?P<name>\S+)` was removed while this request waited": _(
        "`%(name)s` was removed while this request waited"
    ),
    r"idle for (?P<time>\d+) s": _("idle for %(time)s s"),
    r"nobody waits for it any more": _("nobody waits for it any more"),
    r"the models together grew past the memory limit": _(
        "the models together grew past the memory limit"
    ),
    r"fewer models may be in memory at once now": _("fewer models may be in memory at once now"),
    r"it may not be in memory together with another now": _(
        "it may not be in memory together with another now"
    ),
    r"planned anew: the rules were changed": _("planned anew: the rules were changed"),
    r"planned anew: the models together grew past the memory limit": _(
        "planned anew: the models together grew past the memory limit"
    ),
    r"its engine process ended unexpectedly": _("its engine process ended unexpectedly"),
    r"the engine of (?P<name>.+) used (?P<used>[\d.]+ .?B) of main memory, was given "
    r"(?P<given>[\d.]+ .?B), and was ended": _(
        "the engine of %(name)s used %(used)s of main memory, was given %(given)s, and was ended"
    ),
    r"the machine ran out of memory, and the system ended the engine of (?P<name>.+)": _(
        "the machine ran out of memory, and the system ended the engine of %(name)s"
    ),
    r"its engine ended too often: requests are refused for a while": _(
        "its engine ended too often: requests are refused for a while"
    ),
    r"waits for a model place: (?P<holders>.+)": _("waits for a model place: %(holders)s"),
    r"waits for memory on (?P<device>\S+): (?P<wanted>.+) needed, (?P<free>.+) free; (?P<holders>.+)": _(
        "waits for memory on %(device)s: %(wanted)s needed, %(free)s free; %(holders)s"
    ),
    r"it needs (?P<wanted>[\d.]+ .?B) on (?P<device>\S+); (?P<free>[\d.]+ .?B) are free, and the limit is "
    r"(?P<limit>[\d.]+ .?B): nothing that is unloaded would help": _(
        "it needs %(wanted)s on %(device)s; %(free)s are free, and the limit is %(limit)s: nothing "
        "that is unloaded would help"
    ),
    r"it needs (?P<wanted>[\d.]+ .?B) on (?P<device>\S+); (?P<free>[\d.]+ .?B) are free, and the limit is "
    r"(?P<limit>[\d.]+ .?B): keys and values for the (?P<n>\d+) tokens of context that are set take "
    r"(?P<kv>[\d.]+ .?B) of it": _(
        "it needs %(wanted)s on %(device)s; %(free)s are free, and the limit is %(limit)s: keys and "
        "values for the %(n)s tokens of context that are set take %(kv)s of it"
    ),
    r"it needs (?P<wanted>[\d.]+ .?B) on (?P<device>\S+); (?P<free>[\d.]+ .?B) are free of "
    r"(?P<limit>[\d.]+ .?B), and these are pinned and would have to go: (?P<names>.+)": _(
        "it needs %(wanted)s on %(device)s; %(free)s are free of %(limit)s, and these are pinned and "
        "would have to go: %(names)s"
    ),
    r"it needs (?P<wanted>[\d.]+ .?B) on (?P<device>\S+); (?P<free>[\d.]+ .?B) are free of "
    r"(?P<limit>[\d.]+ .?B), and these belong with it, or are pinned, and would have to go: (?P<names>.+)": _(
        "it needs %(wanted)s on %(device)s; %(free)s are free of %(limit)s, and these belong with it, "
        "or are pinned, and would have to go: %(names)s"
    ),
    r"(?P<name>\S+) does not fit: (?P<because>.+)": _("%(name)s does not fit: %(because)s"),
    r"it may not be in memory together with (?P<name>.+), which is pinned": _(
        "it may not be in memory together with %(name)s, which is pinned"
    ),
    r"It fits after unloading (?P<names>.+)\.": _("It fits after unloading %(names)s."),
    r"It does not fit, even with nothing else loaded\.": _(
        "It does not fit, even with nothing else loaded."
    ),
    r"It does not fit, because these hold the memory and stay: (?P<holders>.+)\.": _(
        "It does not fit, because these hold the memory and stay: %(holders)s."
    ),
    r"It does not fit, because it may not be in memory together with these, which stay: (?P<names>.+)\.": _(
        "It does not fit, because it may not be in memory together with these, which stay: %(names)s."
    ),
    r"It does not fit, because the model service has no (?P<device>\S+): it has (?P<there>.+)\.": _(
        "It does not fit, because the model service has no %(device)s: it has %(there)s."
    ),
    r"It does not fit, because pinned models hold all (?P<n>\d+) model places: (?P<names>.+)\.": _(
        "It does not fit, because pinned models hold all %(n)s model places: %(names)s."
    ),
    r"all (?P<n>\d+) model places are taken, also by its company: (?P<names>.+)": _(
        "all %(n)s model places are taken, also by its company: %(names)s"
    ),
    r"all (?P<n>\d+) model places are held by pinned models: (?P<names>.+)": _(
        "all %(n)s model places are held by pinned models: %(names)s"
    ),
}
HOLDERS = {
    r"other programs": _("other programs"),
    r"other programs hold it": _("other programs hold it"),
    r"(?P<name>.+) is loading": _("%(name)s is loading"),
    r"(?P<name>.+) is busy with (?P<n>\d+)": _("%(name)s is busy with %(n)s"),
    r"training (?P<name>\S+) holds (?P<size>[\d.]+ .?B)": _("training %(name)s holds %(size)s"),
    r"(?P<name>.+) was used just now": _("%(name)s was used just now"),
}
CORES = re.compile(r"(\d+) cores?")


def words(reason: str) -> str:
    """Translate a reason; what is not known, such as an engine's own error, stays as it is."""
    found = _matched(reason, SENTENCES, lambda text: ", ".join(map(_holder, text.split(", "))))
    return found if found != reason else _matched(reason, refusals.SENTENCES, str)


def device(label: str) -> str:
    """Translate a CPU's label; GPUs have names."""
    if found := CORES.fullmatch(label):
        n = int(found[1])
        return ngettext("%(n)d core", "%(n)d cores", n) % {"n": n}
    return label


def _holder(text: str) -> str:
    return _matched(text, HOLDERS, str)


def _matched(text: str, table: Mapping[str, object], holders: Callable[[str], str]) -> str:
    for pattern, sentence in table.items():
        if found := re.fullmatch(pattern, text):
            parts = found.groupdict()
            if "holders" in parts:
                parts["holders"] = holders(parts["holders"])
            if "because" in parts:
                parts["because"] = words(parts["because"])
            if "why" in parts:
                parts["why"] = str(refusals.CAUSES.get(parts["why"], parts["why"]))
            return str(sentence) % parts
    return text
