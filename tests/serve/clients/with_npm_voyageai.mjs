// npm's voyageai. Usage: node with_npm_voyageai.mjs URL
import assert from "node:assert/strict";
import { VoyageAIClient, VoyageAIError } from "voyageai";

const client = new VoyageAIClient({ apiKey: "secret", environment: `${process.argv[2]}/v1` });
const asked = { model: "length", query: "q", documents: ["four", "sixsix", "five5", ""], topK: 2, returnDocuments: true };
const ranked = await client.rerank(asked);
assert.deepEqual(ranked.data.map((place) => [place.index, place.document]), [[1, "sixsix"], [2, "five5"]]);
assert.equal(ranked.data[0].relevanceScore, 0.95257413);
assert.equal(ranked.usage.totalTokens, 15);
await assert.rejects(client.rerank({ ...asked, model: "none" }), (error) => error instanceof VoyageAIError && error.statusCode === 404);
