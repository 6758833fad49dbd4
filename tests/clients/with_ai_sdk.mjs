// Vercel's AI SDK: node with_ai_sdk.mjs URL.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const url = process.argv[2];
// Resolved from where npm put them: the folder this runs in.
const from = createRequire(`${process.cwd()}/`);
const load = (name) => import(pathToFileURL(from.resolve(name)).href);
const { generateObject, generateText, jsonSchema, streamText, tool } = await load("ai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const provider = createOpenAICompatible({
  name: "rustinfer",
  baseURL: `${url}/v1`,
  apiKey: "none",
  supportsStructuredOutputs: true,
});
const model = provider("smollm2-135m-instruct");
const common = { model, temperature: 0, maxOutputTokens: 64, maxRetries: 0 };
const text = { type: "string", maxLength: 20 };
const object = (properties) =>
  jsonSchema({ type: "object", properties, required: Object.keys(properties), additionalProperties: false });

function sure(fact, otherwise) {
  if (!fact) throw new Error(otherwise);
}

const checks = {
  chat: async () => {
    const { text: said } = await generateText({ ...common, prompt: "Name the capital of France." });
    sure(said.includes("Paris"), said);
    return said;
  },
  stream: async () => {
    const parts = [];
    for await (const part of streamText({ ...common, prompt: "Name the capital of France." }).textStream)
      parts.push(part);
    sure(parts.join("").includes("Paris"), parts.join(""));
    return `${parts.length} parts: ${parts.join("")}`;
  },
  tools: async () => {
    const weather = tool({ description: "The weather in a city.", inputSchema: object({ city: text }) });
    const asked = { ...common, tools: { get_weather: weather }, toolChoice: "required" };
    const { toolCalls } = await generateText({ ...asked, prompt: "What is the weather in Paris?" });
    sure(toolCalls.length === 1 && "city" in toolCalls[0].input, JSON.stringify(toolCalls));
    return `${toolCalls[0].toolName}(${JSON.stringify(toolCalls[0].input)})`;
  },
  "JSON schema": async () => {
    const schema = object({ name: text, age: { type: "integer", minimum: 0, maximum: 120 } });
    const prompt = "Ada is 36 years old. Answer with her name and age as JSON.";
    const { object: found } = await generateObject({ ...common, schema, prompt });
    sure(typeof found.name === "string" && Number.isInteger(found.age), JSON.stringify(found));
    return JSON.stringify(found);
  },
  embeddings: async () => {
    const { embeddings } = await provider.textEmbeddingModel("smollm2-135m-instruct").doEmbed({ values: ["a cat"] });
    sure(embeddings[0].every(Number.isFinite), "no vector of numbers");
    return `${embeddings[0].length} numbers`;
  },
};

for (const [check, run] of Object.entries(checks)) {
  const start = performance.now();
  const [ok, seen] = await run().then(
    (said) => [true, said],
    (error) => [false, String(error)],
  );
  const line = {
    check,
    ok,
    seen: seen.replace(/\s+/g, " ").slice(0, 200),
    seconds: (performance.now() - start) / 1000,
  };
  console.log(JSON.stringify(line));
}
