"""xinference-client, which asks for the model before it ranks. Usage: with_xinference.py URL"""

import sys

from xinference_client import RESTfulClient

DOCUMENTS = ["four", "sixsix", "five5", ""]


def main(url: str) -> None:
    client = RESTfulClient(url, api_key="secret")
    for name in ("length", "org/length"):
        model = client.get_model(name)
        ranked = model.rerank(DOCUMENTS, "q", top_n=2, return_documents=True, return_len=True)
        assert [(place["index"], place["document"]["text"]) for place in ranked["results"]] == [
            (1, "sixsix"),
            (2, "five5"),
        ]
        assert ranked["meta"]["tokens"]["input_tokens"] == 15
    try:
        client.get_model("none")
    except RuntimeError as error:
        assert "not served" in str(error), error
    else:
        raise AssertionError("no error")


main(sys.argv[1])
