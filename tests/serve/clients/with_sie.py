"""sie-sdk, which speaks msgpack and puts the model's id into the path. Usage: with_sie.py URL"""

import sys

import sie_sdk
from sie_sdk.scoring import maxsim


def main(url: str) -> None:
    client = sie_sdk.SIEClient(url, api_key="secret")
    items = [{"id": "a", "text": "four"}, {"text": "sixsix"}]
    for model in ("length", "org/length"):
        scored = client.score(model, {"id": "q1", "text": "q"}, items)
        assert [(entry["item_id"], entry["rank"]) for entry in scored["scores"]] == [("item-1", 0), ("a", 1)]
        assert abs(scored["scores"][0]["score"] - 0.95257413) < 1e-6
        vectors = {"output_types": ["multivector"]}
        query = client.encode(model, {"text": "q"}, is_query=True, **vectors)
        documents = client.encode(model, items, **vectors)
        assert [document.get("id") for document in documents] == ["a", None]
        similarities = maxsim(query["multivector"], [document["multivector"] for document in documents])
        best_first = sorted(range(len(items)), key=lambda row: -similarities[row])
        assert [("a", "item-1")[row] for row in best_first] == [entry["item_id"] for entry in scored["scores"]]
        dense = client.encode(model, items[1], output_dtype="float16")["dense"]
        assert (dense.tolist(), str(dense.dtype)) == ([6.0, 0.0], "float16")
    assert {"length", "full"} <= {model["name"] for model in client.list_models()}
    for model, asked in (("none", items), ("length", [])):
        try:
            client.score(model, {"text": "q"}, asked, wait_for_capacity=False)
        except sie_sdk.SIEError as error:
            assert any(word in str(error) for word in ("not served", "at least one")), error
        else:
            raise AssertionError("no error")
    try:
        client.encode("length", items, output_types=["sparse"])
    except sie_sdk.RequestError as error:
        assert "must be 'dense' or 'multivector'" in str(error), error
    else:
        raise AssertionError("no error")


main(sys.argv[1])
