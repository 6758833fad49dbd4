// The `openai` client of Node: node with_openai.mjs URL. The same checks as with_openai.py, in the same words.
import { createRequire } from "node:module";

const url = process.argv[2];
// Resolved from where npm put it: the folder this runs in.
const { default: OpenAI, BadRequestError, NotFoundError } = createRequire(`${process.cwd()}/`)("openai");
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, timeout: 120_000 });
const model = "smollm2-135m-instruct";
const messages = [{ role: "user", content: "Name the capital of France." }];
const text = { type: "string", maxLength: 20 };
const object = (properties) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});

function sure(fact, otherwise) {
  if (!fact) throw new Error(otherwise);
}

const checks = {
  chat: async () => {
    const answer = await client.chat.completions.create({ model, messages, temperature: 0, max_tokens: 16 });
    const said = answer.choices[0].message.content;
    sure(said.includes("Paris"), said);
    return said;
  },
  stream: async () => {
    const stream = await client.chat.completions.create({
      model,
      messages,
      temperature: 0,
      max_tokens: 16,
      stream: true,
      stream_options: { include_usage: true },
    });
    let [said, events, usage] = ["", 0, null];
    for await (const part of stream) {
      events += 1;
      said += part.choices[0]?.delta.content ?? "";
      usage = part.usage ?? usage;
    }
    sure(said.includes("Paris") && usage.completion_tokens > 0, said);
    return `${events} events: ${said}`;
  },
  tools: async () => {
    const asked = [{ role: "user", content: "What is the weather in Paris?" }];
    const tools = [
      {
        type: "function",
        function: { name: "get_weather", description: "The weather in a city.", parameters: object({ city: text }) },
      },
    ];
    const answer = await client.chat.completions.create({
      model,
      messages: asked,
      tools,
      tool_choice: "required",
      temperature: 0,
      max_tokens: 64,
    });
    const [call] = answer.choices[0].message.tool_calls;
    sure(answer.choices[0].finish_reason === "tool_calls", answer.choices[0].finish_reason);
    sure("city" in JSON.parse(call.function.arguments), call.function.arguments);
    const told = { role: "tool", tool_call_id: call.id, content: "sunny, 21 degrees" };
    const after = await client.chat.completions.create({
      model,
      messages: [...asked, answer.choices[0].message, told],
      max_tokens: 16,
    });
    sure(after.choices[0].message.content, "nothing was said of the result");
    return `${call.function.name}(${call.function.arguments})`;
  },
  "JSON schema": async () => {
    const schema = object({ name: text, age: { type: "integer", minimum: 0, maximum: 120 } });
    const asked = [{ role: "user", content: "Ada is 36 years old. Answer with her name and age as JSON." }];
    const answer = await client.chat.completions.create({
      model,
      messages: asked,
      temperature: 0,
      response_format: { type: "json_schema", json_schema: { name: "person", schema, strict: true } },
    });
    const found = JSON.parse(answer.choices[0].message.content);
    sure(typeof found.name === "string" && Number.isInteger(found.age), JSON.stringify(found));
    return JSON.stringify(found);
  },
  responses: async () => {
    const common = { model, temperature: 0, max_output_tokens: 16, input: messages[0].content };
    const first = await client.responses.create(common);
    sure(first.output_text.includes("Paris"), first.output_text);
    let [said, events, last] = ["", 0, null];
    for await (const event of await client.responses.create({ ...common, stream: true })) {
      events += 1;
      last = event;
      if (event.type === "response.output_text.delta") said += event.delta;
    }
    sure(last.type === "response.completed" && said.includes("Paris"), said);
    sure((await client.responses.retrieve(first.id)).id === first.id, "it was not stored");
    await client.responses.delete(first.id);
    return `${events} events: ${said}`;
  },
  embeddings: async () => {
    const answer = await client.embeddings.create({ model, input: ["a cat", "a kitten"] });
    const [cat] = answer.data.map((item) => item.embedding);
    sure(cat.length > 1 && cat.every(Number.isFinite), "no vector of numbers");
    return `${cat.length} numbers`;
  },
  errors: async () => {
    const seen = [];
    for (const [kind, change] of [
      [NotFoundError, { model: "gpt-4" }],
      [BadRequestError, { temperature: -1 }],
      [BadRequestError, { max_tokens: 1e6, stream: true }],
    ]) {
      const error = await client.chat.completions.create({ model, messages, ...change }).then(
        () => null,
        (e) => e,
      );
      sure(error instanceof kind, `${JSON.stringify(change)}: ${error}`);
      seen.push(`${error.status} ${error.param} ${error.code}`);
    }
    return seen.join(", ");
  },
  cancel: async () => {
    const stream = await client.chat.completions.create({
      model,
      messages,
      max_tokens: 1500,
      ignore_eos: true,
      stream: true,
    });
    const reader = stream[Symbol.asyncIterator]();
    for (let n = 0; n < 4; n++) await reader.next();
    const active = async () =>
      Number((await (await fetch(`${url}/metrics`)).text()).match(/^rustinfer_requests_active (\S+)$/m)[1]);
    sure((await active()) === 1, "the stream ended by itself");
    stream.controller.abort();
    const start = performance.now();
    let running = await active();
    while (running && performance.now() - start < 10_000) {
      await new Promise((done) => setTimeout(done, 20));
      running = await active();
    }
    sure(!running, `${running} still active`);
    return `free after ${((performance.now() - start) / 1000).toFixed(2)} s`;
  },
};

for (const [check, run] of Object.entries(checks)) {
  const start = performance.now();
  const [ok, seen] = await run().then(
    (said) => [true, said],
    (error) => [false, String(error)],
  );
  console.log(
    JSON.stringify({
      check,
      ok,
      seen: seen.replace(/\s+/g, " ").slice(0, 200),
      seconds: (performance.now() - start) / 1000,
    }),
  );
}
