// npm's cohere-ai: its v1 and v2 clients. Usage: node with_npm_cohere.mjs URL
import assert from "node:assert/strict";
import { CohereClient, CohereClientV2, CohereError } from "cohere-ai";

const url = process.argv[2];
const asked = { model: "length", query: "q", documents: ["four", "sixsix", "five5", ""], topN: 2 };
for (const Client of [CohereClient, CohereClientV2]) {
  for (const base of [url, `${url}/v1`]) {
    const client = new Client({ token: "secret", environment: base });
    const ranked = await client.rerank(asked);
    assert.deepEqual(ranked.results.map((place) => [place.index, place.relevanceScore]), [[1, 0.95257413], [2, 0.8807971]]);
    await assert.rejects(client.rerank({ ...asked, model: "none" }), (error) =>
      error instanceof CohereError && error.statusCode === 404 && error.message.includes("not served"));
  }
}
