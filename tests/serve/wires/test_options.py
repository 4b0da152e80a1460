"""Every known option of a dialect is honoured or refused by name, and unknown fields are ignored."""

import pytest

from rerank.errors import TooLongError
from rerank.types import TokenLimits

DOCUMENTS = {"query": "q", "documents": ["four", "sixsix"]}
TEI = {"query": "q", "texts": ["four", "sixsix"]}
MIXEDBREAD = {"query": "q", "input": ["four", "sixsix"]}
NIM = {"query": {"text": "q"}, "passages": [{"text": "four"}, {"text": "sixsix"}]}
PAIRS = {"text_1": "q", "text_2": ["four", "sixsix"]}
SIE = {"query": {"text": "q"}, "items": [{"text": "four"}, {"text": "sixsix"}]}
PREDICT = {"inputs": [["q", "four"], ["q", "sixsix"]]}
DASHSCOPE = "/api/v1/services/rerank/text-rerank/text-rerank"
ENCODE = {"items": [{"text": "four"}, {"text": "sixsix"}]}
JSON = {"Accept": "application/json"}

STRICT = TokenLimits(strict=True)
UNREAD = "must be left out: no model here reads it"
NO_PASSAGES = "this model is served without passages"


@pytest.mark.parametrize(
    ("path", "body", "change", "asked"),
    [
        ("/v2/rerank", DOCUMENTS, {"max_tokens_per_doc": 300}, TokenLimits(document=300)),
        ("/v2/rerank", DOCUMENTS, {"relevant_spans": {"mode": "disabled"}, "priority": 0}, TokenLimits()),
        ("/v1/rerank", DOCUMENTS, {"max_chunks_per_doc": 1, "overlap_tokens": 0}, TokenLimits()),
        ("/v1/rerank", DOCUMENTS, {"max_chunks_per_doc": 1024, "overlap_tokens": 80}, TokenLimits()),  # LlamaIndex
        ("/v1/rerank", DOCUMENTS, {"max_chunks_per_doc": None, "kwargs": "{}"}, TokenLimits()),  # Xinference's client
        ("/v1/rerank", DOCUMENTS, {"parameters": {}, "instruct": "", "return_embeddings": False}, TokenLimits()),
        ("/rerank", DOCUMENTS, {"user": "me", "cache_salt": "s", "padding": "do_not_pad"}, TokenLimits()),
        ("/v1/rerank", DOCUMENTS, {"no_such_option": True, "max_chunk": {"a": [1]}}, TokenLimits()),
        ("/rerank", DOCUMENTS, {"truncate_prompt_tokens": 200}, TokenLimits(pair=200)),
        ("/rerank", DOCUMENTS, {"truncate_prompt_tokens": -1, "truncation_side": "right"}, TokenLimits()),
        ("/rerank", DOCUMENTS, {"truncate_prompt_tokens": 9, "max_tokens_per_doc": 5}, TokenLimits(5, 9)),
        ("/v1/score", PAIRS, {"truncate_prompt_tokens": 20, "instruction": ""}, TokenLimits(pair=20)),
        ("/v1/rerank", DOCUMENTS, {"truncation": False}, STRICT),
        ("/v1/rerank", DOCUMENTS, {"truncation": True}, TokenLimits()),
        ("/rerank", TEI, {"truncate": False}, STRICT),
        ("/rerank", TEI, {"truncate": True, "truncation_direction": "Right", "no_such_option": 1}, TokenLimits()),
        ("/v1/ranking", NIM, {"truncate": "NONE"}, STRICT),
        ("/v1/ranking", NIM, {"truncate": "END"}, TokenLimits()),
        ("/v1/reranking", MIXEDBREAD, {"rewrite_query": False}, TokenLimits()),
        ("/v1/score/length", SIE, {"options": {}, "instruction": None}, TokenLimits()),
    ],
)
def test_what_is_cut_is_what_was_asked_for(client, scorer, path, body, change, asked):
    assert client(path, json={**body, **change}, headers=JSON).status_code == 200
    assert [request.token_limits for request in scorer.asked] == [asked]


@pytest.mark.parametrize(
    ("path", "body", "change", "asked"),
    [
        ("/v1/rerank", DOCUMENTS, {"instruction": "Find it."}, "Find it."),
        ("/v1/rerank", DOCUMENTS, {"instruct": "Find it.", "instruction": None}, "Find it."),
        ("/v1/rerank", DOCUMENTS, {"instruct": "Find it.", "instruction": "Find it."}, "Find it."),
        ("/v1/rerank", DOCUMENTS, {"instruct": " ", "instruction": ""}, None),
        ("/rerank", {**DOCUMENTS, "truncate_prompt_tokens": 9}, {"instruction": " Find it.\n"}, " Find it.\n"),
        ("/v1/reranks", DOCUMENTS, {"instruct": "Find it."}, "Find it."),
        (DASHSCOPE, {"input": DOCUMENTS}, {"parameters": {"instruct": "Find it."}}, "Find it."),
        ("/v1/score", PAIRS, {"instruction": "Find it."}, "Find it."),
        ("/v1/reranking", MIXEDBREAD, {"instruction": "Find it."}, "Find it."),
        ("/v1/reranking", MIXEDBREAD, {"instruction": "\t"}, None),
        ("/v1/score/length", SIE, {"instruction": "Find it."}, "Find it."),
        (
            "/v1/encode/length",
            ENCODE,
            {"params": {"options": {"is_query": True}, "instruction": "Find it."}},
            "Find it.",
        ),
    ],
)
def test_an_instruction_is_passed_on(client, scorer, path, body, change, asked):
    assert client(path, json={**body, **change}, headers=JSON).status_code == 200
    assert [request.instruction for request in scorer.asked] == [asked]


@pytest.mark.parametrize(
    ("path", "body", "change", "message"),
    [
        ("/v2/rerank", DOCUMENTS, {"max_tokens_per_doc": 0}, "max_tokens_per_doc must be at least 1, got 0"),
        (
            "/v2/rerank",
            DOCUMENTS,
            {"relevant_spans": {"mode": "enabled"}},
            f'relevant_spans must be {{"mode": "disabled"}} or left out: {NO_PASSAGES}, got an object',
        ),
        (
            "/v2/rerank",
            DOCUMENTS,
            {"priority": 3},
            "priority must be 0 or left out: waiting requests take turns, got 3",
        ),
        (
            "/v1/rerank",
            DOCUMENTS,
            {"max_chunks_per_doc": 10},
            f"max_chunks_per_doc must be 1 or left out: {NO_PASSAGES}, got 10",
        ),
        ("/v1/rerank", DOCUMENTS, {"max_chunks_per_doc": 0}, "max_chunks_per_doc must be at least 1, got 0"),
        (
            "/v1/rerank",
            DOCUMENTS,
            {"overlap_tokens": 20},
            f"overlap_tokens must be 0 or left out: {NO_PASSAGES}, got 20",
        ),
        (
            "/v1/rerank",
            DOCUMENTS,
            {"parameters": {"truncate": "END"}},
            "parameters must be left out: options are fields",
        ),
        ("/v1/rerank", DOCUMENTS, {"kwargs": '{"a": 1}'}, 'kwargs must be "{}" or left out: options are fields'),
        (
            "/v1/rerank",
            DOCUMENTS,
            {"max_doc_length": 512},
            "max_doc_length must be left out: max_tokens_per_doc limits",
        ),
        ("/v1/rerank", DOCUMENTS, {"return_embeddings": True}, "return_embeddings must be left out: cross-encoders"),
        ("/v1/rerank", DOCUMENTS, {"instruction": 7}, "instruction must be a string, got 7"),
        (
            "/v1/rerank",
            DOCUMENTS,
            {"instruction": "a", "instruct": "b"},
            "instruction and instruct must be equal, or one",
        ),
        (
            "/rerank",
            DOCUMENTS,
            {"padding": "max_length"},
            'padding must be "do_not_pad" or left out: scores do not depend',
        ),
        (
            "/rerank",
            DOCUMENTS,
            {"truncation_side": "left"},
            """truncation_side must be "right" or left out: texts are cut at their end, got 'left'""",
        ),
        (
            "/rerank",
            DOCUMENTS,
            {"truncate_prompt_tokens": 0},
            "truncate_prompt_tokens must be -1 or at least 1, got 0",
        ),
        ("/rerank", DOCUMENTS, {"chat_template": "{{ x }}"}, f"chat_template {UNREAD}"),
        ("/rerank", DOCUMENTS, {"chat_template_kwargs": {"a": 1}}, f"chat_template_kwargs {UNREAD}"),
        ("/v1/score", PAIRS, {"mm_processor_kwargs": {"a": 1}}, f"mm_processor_kwargs {UNREAD}"),
        ("/v1/score", PAIRS, {"priority": -1}, "priority must be 0 or left out"),
        ("/v1/ranking", NIM, {"truncate": "START"}, "truncate must be 'NONE', 'END' or null, got 'START'"),
        ("/v1/ranking", NIM, {"top_k": 0}, "top_k must be at least 1, got 0"),
        ("/v1/ranking", NIM, {"passages": [{"text": "a", "image": "i"}]}, "passages[0].image must be left out"),
        (
            "/v1/reranking",
            MIXEDBREAD,
            {"rewrite_query": True},
            "rewrite_query must be left out: queries are scored as they are sent, got true",
        ),
        ("/v1/reranking", MIXEDBREAD, {"rank_fields": []}, "rank_fields must name at least one field"),
        (DASHSCOPE, {"input": DOCUMENTS}, {"parameters": {"top_n": 0}}, "parameters.top_n must be at least 1, got 0"),
        (DASHSCOPE, {"input": DOCUMENTS}, {"input": {"query": "q"}}, "input.documents is missing"),
        (
            DASHSCOPE,
            {"input": DOCUMENTS},
            {"input": {**DOCUMENTS, "documents": [{"image": "i"}]}},
            "input.documents[0].image must be left out",
        ),
        ("/weaviate/rerank", DOCUMENTS, {"documents": [None]}, "documents.0 must be a string, got null"),
        ("/v1/score/length", SIE, {"options": {"profile": "x"}}, f"options {UNREAD}"),
        ("/v1/score/length", SIE, {"query": {"text": "q", "images": ["i"]}}, "query.images must be left out"),
        ("/v1/score/length", SIE, {"items": [{"text": "a", "audio": "i"}]}, "items[0].audio must be left out"),
    ],
)
def test_what_no_model_here_can_do_is_refused_by_name(client, scorer, path, body, change, message):
    answer = client(path, json={**body, **change}, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(message)
    assert scorer.asked == []


def test_tei_refuses_to_cut_on_the_left_in_its_own_words(client, scorer):
    answer = client("/rerank", json={**TEI, "truncation_direction": "Left"})
    assert (answer.status_code, answer.json()["error_type"]) == (422, "Validation")
    assert (
        answer.json()["error"]
        == """truncation_direction must be "right", "Right" or left out: texts are cut at their end, got 'Left'"""
    )
    assert scorer.asked == []


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/v1/rerank", {**DOCUMENTS, "truncation": False}, 400, "documents"),
        ("/rerank", {**TEI, "truncate": False}, 413, "texts"),
        ("/v1/ranking", {**NIM, "truncate": "NONE"}, 400, "passages"),
        ("/predict", {**PREDICT, "truncate": False}, 413, "inputs"),
    ],
)
def test_a_text_that_must_not_be_cut_is_refused_under_the_dialects_name(client, scorer, path, body, status, field):
    scorer.failure = TooLongError(1, 512)
    answer = client(path, json=body)
    assert (answer.status_code, answer.json()["message"]) == (
        status,
        f"{field}[1] must have at most 512 tokens together with its query, got more, and truncation is switched off",
    )


@pytest.mark.parametrize("option", ["use_activation", "activation", "softmax"])
def test_vllm_s_clients_may_ask_for_logits(client, option):
    ranked = client("/rerank", json={**DOCUMENTS, option: False}).json()["results"]
    assert [place["relevance_score"] for place in ranked] == [3, 1]
    scored = client("/v1/score", json={**PAIRS, option: False}).json()["data"]
    assert [place["score"] for place in scored] == [1, 3]


@pytest.mark.parametrize(("path", "body"), [("/rerank", DOCUMENTS), ("/v1/score", PAIRS)])
def test_vllm_s_clients_may_choose_the_response_s_id(client, path, body):
    assert client(path, json={**body, "request_id": "mine"}).json()["id"] == "mine"


def test_xinference_s_clients_get_the_token_count_they_ask_for(client):
    sent = {**DOCUMENTS, "return_documents": "true", "return_len": "true"}  # as RAGFlow sends it
    assert client("/v1/rerank", json=sent).json()["meta"]["tokens"] == {"input_tokens": 10, "output_tokens": 0}
    assert "tokens" not in client("/v1/rerank", json=DOCUMENTS).json()["meta"]


def test_the_documentation_lists_what_is_honoured_refused_and_ignored(client):
    paths = client("/openapi.json", "GET").json()["paths"]
    described = {path: methods["post"]["description"] for path, methods in paths.items() if "post" in methods}
    assert len(described) == 12
    assert all("Fields that are not listed here are ignored." in text for text in described.values())
    honoured, refused, informational, *_ = described["/v2/rerank"].partition("- ")[2].split("\n- ")
    assert honoured.startswith("Honoured: ") and "`max_tokens_per_doc`" in honoured and "`top_n`" in honoured
    assert refused.startswith("Refused with an error that names the field: ")
    assert f"`max_chunks_per_doc` (must be 1 or left out: {NO_PASSAGES})" in refused
    assert "`parameters`" in refused and "`parameters`" not in honoured
    assert informational == "Accepted without effect: `user`, `cache_salt`."


def test_litellm_may_ask_nim_and_tei_for_the_best(client):
    assert client("/v1/ranking", json={**NIM, "top_k": 1}).json()["rankings"] == [{"index": 1, "logit": 3.0}]
    assert client("/rerank", json={**TEI, "top_n": 1}).json() == [{"index": 1, "score": 0.95257413}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rerank", DOCUMENTS),
        ("/v2/rerank", DOCUMENTS),
        ("/v1/rerank", {**DOCUMENTS, "top_k": None}),
        ("/rerank", TEI),
        ("/rerank", {**DOCUMENTS, "truncate_prompt_tokens": None}),
        ("/v1/reranking", MIXEDBREAD),
        ("/v1/ranking", NIM),
        ("/v1/score", PAIRS),
        ("/v1/score/length", SIE),
        ("/v1/encode/length", ENCODE),
        ("/predict", PREDICT),
        ("/weaviate/rerank", DOCUMENTS),
        (DASHSCOPE, {"input": DOCUMENTS}),
    ],
)
def test_a_deadline_is_504_in_every_dialect(client, scorer, path, body):
    """All SDKs that retry do so on 504, and Voyage's on no 408."""
    scorer.seconds = 10
    answer = client(path, json=body, headers={"X-Request-Timeout": "0.01", **JSON})
    assert answer.status_code == 504
    assert "the answer was not ready within 0.01 seconds" in str(answer.json()["detail"])
