// Vercel's AI SDK with its provider for OpenAI, which uses /v1/responses: node with_ai_sdk_openai.mjs URL.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const url = process.argv[2];
// Resolved from where npm put them: the folder this runs in.
const from = createRequire(`${process.cwd()}/`);
const load = (name) => import(pathToFileURL(from.resolve(name)).href);
const { generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } = await load("ai");
const { createOpenAI } = await load("@ai-sdk/openai");
const model = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" }).responses("smollm2-135m-instruct");
const common = { model, temperature: 0, maxOutputTokens: 64, maxRetries: 0 };
const text = { type: "string", maxLength: 20 };
const object = (properties) =>
  jsonSchema({ type: "object", properties, required: Object.keys(properties), additionalProperties: false });
const question = "Name the capital of France.";

function sure(fact, otherwise) {
  if (!fact) throw new Error(otherwise);
}

const checks = {
  stream: async () => {
    const parts = [];
    for await (const part of streamText({ ...common, prompt: question }).textStream) parts.push(part);
    sure(parts.join("").includes("Paris"), parts.join(""));
    return `${parts.length} parts: ${parts.join("")}`;
  },
  tools: async () => {
    const get_weather = tool({
      description: "The weather in a city.",
      inputSchema: object({ city: text }),
      execute: async ({ city }) => `Sunny in ${city}.`,
    });
    const asked = { ...common, tools: { get_weather }, toolChoice: "required", stopWhen: stepCountIs(2) };
    const { steps } = await generateText({ ...asked, prompt: "What is the weather in Paris?" });
    sure(steps.length === 2 && steps.every((step) => "city" in step.toolCalls[0].input), JSON.stringify(steps));
    return `${steps.length} steps, get_weather(${JSON.stringify(steps[0].toolCalls[0].input)})`;
  },
  "JSON schema": async () => {
    const schema = object({ name: text, age: { type: "integer", minimum: 0, maximum: 120 } });
    const prompt = "Ada is 36 years old. Answer with her name and age as JSON.";
    return JSON.stringify((await generateObject({ ...common, schema, prompt })).object);
  },
  // The second turn refers to the first one's items instead of sending them.
  responses: async () => {
    const first = await generateText({ ...common, prompt: question });
    const said = [{ role: "user", content: question }, ...first.response.messages];
    const again = { role: "user", content: "What is the capital of Italy?" };
    const { text: answer, request } = await generateText({ ...common, messages: [...said, again] });
    sure(JSON.stringify(request.body).includes("item_reference"), "nothing was referred to");
    sure(answer, "the answer is empty");
    return answer;
  },
};

for (const [check, run] of Object.entries(checks)) {
  const start = performance.now();
  const line = { check, ok: true };
  try {
    line.seen = await run();
  } catch (error) {
    Object.assign(line, { ok: false, seen: String(error).slice(0, 200) });
  }
  line.seconds = (performance.now() - start) / 1000;
  console.log(JSON.stringify(line));
}
