// npm's @mixedbread/sdk. Usage: node with_npm_mixedbread.mjs URL
import assert from "node:assert/strict";
import Mixedbread from "@mixedbread/sdk";

const client = new Mixedbread({ apiKey: "secret", baseURL: process.argv[2], maxRetries: 0 });
const asked = { model: "length", query: "q", input: ["four", "sixsix", ""], top_k: 2, return_input: true };
const ranked = await client.rerank(asked);
assert.deepEqual(ranked.data.map((place) => [place.index, place.score, place.input]), [[1, 0.95257413, "sixsix"], [0, 0.7310586, "four"]]);
assert.equal(ranked.usage.total_tokens, 10);
await assert.rejects(client.rerank({ ...asked, model: "none" }), Mixedbread.NotFoundError);
