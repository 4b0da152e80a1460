// Vercel's AI SDK with its Cohere provider: strings, and objects that it sends as JSON. Usage: node with_npm_ai.mjs URL
import assert from "node:assert/strict";
import { createCohere } from "@ai-sdk/cohere";
import { rerank } from "ai";

globalThis.AI_SDK_LOG_WARNINGS = false; // it says that it sends objects as strings
const model = createCohere({ baseURL: `${process.argv[2]}/v2`, apiKey: "secret" }).reranking("length");
const texts = ["four", "sixsix", "five5", ""];
const strings = await rerank({ model, query: "q", documents: texts, topN: 2 });
assert.deepEqual(strings.ranking.map((place) => [place.originalIndex, place.score]), [[1, 0.95257413], [2, 0.8807971]]);
assert.deepEqual(strings.rerankedDocuments, ["sixsix", "five5"]);
const objects = await rerank({ model, query: "q", documents: texts.map((text) => ({ text })), topN: 2 });
assert.deepEqual(objects.rerankedDocuments, [{ text: "sixsix" }, { text: "five5" }]);
