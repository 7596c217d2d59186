"""The node's reasons in the visitor's language: every one that it writes is known."""

import pytest
from django.utils import translation

from hub.dashboard import reasons

KNOWN = [
    "ready after 1.2 s",
    "asked for by an operator",
    "asked for by an operator, priority -1",
    "asked for by a request",
    "asked for by a request, priority 3",
    "makes room, wanted by a/b (3 waiting)",
    "makes room, replica 2 of 3",
    "replica 2 of 3 on cuda:1",
    "fewer replicas are wanted",
    "the node ended, and its engines with it",
    "priority 0, and another replica of it stays",
    "cuda:0, cuda:1: most memory is left free there",
    "cuda:1: nobody has to leave there",
    "cuda:1: fewest models have to leave there, and they are the cheapest to load again",
    "woken after 1.2 s",
    "23 GB of main memory keep it at hand",
    "its sleep ends: the memory is wanted",
    "its sleep ends: another engine serves its model",
    "it did not fall asleep in time",
    "its sleep went wrong (vLLM answers otherwise than before its sleep): loaded anew",
    "replaced by a newer version",
    "idle for 300 s",
    "nobody waits for it any more",
    "the models together grew past the memory limit",
    "fewer models may be in memory at once now",
    "it may not be in memory together with another now",
    "planned anew: the rules were changed",
    "`base_model.model.x.lora_A.weight` of the adapter holds what is no number (NaN or infinity)",
    "`a.b` of the adapter holds 1e+30; no more than 65504 can be computed with in half precision",
    "its engine process ended unexpectedly",
    "the engine of a used 1.9 GB of main memory, was given 1.2 GB, and was ended",
    "the machine ran out of memory, and the system ended the engine of a",
    "its engine ended too often: requests are refused for a while",
    "waits for a model place: a is busy with 2, b was used just now, c is loading",
    "waits for memory on cpu: 1.2 GB needed, 300 MB free; other programs hold it",
    "it needs 1.2 GB on cpu; 300 MB are free, and the limit is 900 MB: nothing that is unloaded would "
    "help",
    "it needs 3.1 GB on cpu; 900 MB are free, and the limit is 1.6 GB: keys and values for the 65536 "
    "tokens of context that are set take 1.9 GB of it",
    "it needs 1.2 GB on cuda:0; 300 MB are free of 1.5 GB, and these are pinned and would have to go: "
    "a, b",
    "a/b does not fit: all 2 model places are held by pinned models: c",
    "it may not be in memory together with a, which is pinned",
    "it needs 1.25 GB on cpu; 0 B are free, and the limit is 900 MB: nothing that is unloaded would "
    "help",
    "1.23 GB on cpu, at once",
    "940 MB on cuda:0, after 3.1 s",
    "all 2 model places are held by pinned models: a, b",
    "priority -3, idle for 40 s, 3% likely to be wanted within a minute, loads in 4.1 s",
    "It fits after unloading a, training j1.",
    "It does not fit, even with nothing else loaded.",
    "It does not fit, because these hold the memory and stay: a, other programs.",
    "It does not fit, because it may not be in memory together with these, which stay: a, b.",
    "It does not fit, because pinned models hold all 2 model places: a, b.",
    "a is loading",
    "a is about to be loaded",
    "a is busy with 2 requests",
    "waits until a, b has left the memory",
    "waits a little: a would have to go, and may be wanted again soon",
    "no engine serves the architecture 'x'; served are llama, gpt2 and 187 more, see docs/models.md",
    "model.norm.weight is 8, but config.json makes it 9; take files that belong together",
    "token_embd.weight is 8 x 2, but its header makes it 8 x 3; take files that belong together",
    "model.safetensors cannot be read: Is a directory",
    "'\\udcff.json' is no name for a model's file",
    "x.jinja is no plain file",
    "config.json has max_position_embeddings -1: it is a whole number above zero",
    "config.json has rope_theta 0: it is a number above zero",
    "config.json has eos_token_id '</s>': it is a token's number",
    "config.json has hidden_act 'nope', which no engine knows: gelu, relu",
    "x is a link that leaves the folder",
    "tokenizer.json is missing: nothing turns text into the model's tokens",
    "tokenizer.json is no tokenizer that can be read: expected value at line 1 column 1",
    "tokenizer.json knows no tokens",
    "tokenizer.json gives token 9, but the model has vectors for 8 tokens: they do not belong together",
    "the model has no vector for '<image>': a request with one is refused",
    "the model computed what is no number (NaN or infinity): its weights are damaged, or its `dtype` is "
    "too narrow for them",
    "its weights lack lm_head.weight, which config.json describes",
    "its weights hold layer 1, but config.json says that it has 1",
    "the weights of layer 2 are missing; its header counts 3",
    "config.json does not say hidden_size, or no possible one",
    "config.json shares 2 heads of keys among 5 of queries",
    "model.norm.bias is 5, its weight 4 x 4",
    "the index finds 'lost' in model.safetensors, which does not hold it",
    "a-00002-of-00002.gguf holds token_embd.weight again, which another part holds",
    "it is quantized as 'x', which no engine here computes; take its plain weights",
    "it is quantized as awq, which only vLLM computes here: name its Python in AI_HUB_VLLM_PYTHON, "
    "or take the model's plain weights",
    "it was removed",
    "`a` was removed while this request waited",
    "the disk of the models became full: free some space and try again",
    "llm_vllm is not set up on this hub: name the Python of an environment that holds vLLM in "
    "AI_HUB_VLLM_PYTHON, and start the hub again",
]


@pytest.mark.parametrize("reason", KNOWN)
def test_it_keeps_the_english_and_has_a_vietnamese(reason: str) -> None:
    with translation.override("en"):
        assert reasons.words(reason) == reason
    with translation.override("vi"):
        assert reasons.words(reason) != reason


def test_it_leaves_an_engines_own_words_alone() -> None:
    with translation.override("vi"):
        assert (
            reasons.words("the weights are torn, 100 % sure") == "the weights are torn, 100 % sure"
        )
        assert reasons.words("waits for a model place: a is loading").endswith("a đang nạp")
        assert reasons.device("2 cores") == "2 lõi"
        assert reasons.device("NVIDIA H100") == "NVIDIA H100"
