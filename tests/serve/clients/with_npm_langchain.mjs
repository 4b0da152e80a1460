// LangChain's @langchain/cohere, with a Cohere client that is pointed at our URL. Usage: node with_npm_langchain.mjs URL
import assert from "node:assert/strict";
import { CohereRerank } from "@langchain/cohere";
import { Document } from "@langchain/core/documents";
import { CohereClient } from "cohere-ai";

const client = new CohereClient({ token: "secret", environment: process.argv[2] });
const ranker = new CohereRerank({ client, model: "length", topN: 2 });
const found = ["four", "sixsix", "five5", ""].map((text) => new Document({ pageContent: text, metadata: { source: `${text}.txt` } }));
const kept = await ranker.compressDocuments(found, "q");
assert.deepEqual(kept.map((document) => document.pageContent), ["sixsix", "five5"]);
assert.deepEqual(kept[0].metadata, { source: "sixsix.txt", relevanceScore: 0.95257413 });
assert.deepEqual((await ranker.rerank(["four", "sixsix"], "q")).map((place) => place.index), [1, 0]);
