// The dashboard, from /metrics once a second while the page is seen.
const readings = [];

// What a reading says, given the one before it and the one half a minute ago.
const since = (name) => (now, before) => Math.max(now.get(name) - before.get(name), 0);
const rate = (name) => (now, before) => (since(name)(now, before) * 1000) / (now.at - before.at);
const share = (part, whole) => (now) => (now.get(whole) ? now.get(part) / now.get(whole) : NaN);
const spread = (name, q) => (now, _, past) => quantile(past.buckets(name), now.buckets(name), q);

// One tile each: `lines` are drawn, the first is the large figure, `more` says what else is known. A tile whose metric
// this server does not have is left out.
const TILES = [
  { title: "Tokens per second", metric: "generation_tokens_total", lines: [rate("generation_tokens_total"), rate("prompt_tokens_total")], show: count, least: 10, more: (now, [, prompt]) => `generated; ${count(prompt)} of prompts` },
  { title: "Time to first token", metric: "time_to_first_token_seconds_count", lines: [spread("time_to_first_token_seconds", 0.5), spread("time_to_first_token_seconds", 0.95)], show: duration, least: 0.05, more: (now, [, p95]) => `median of 30 s; p95 ${duration(p95)}` },
  { title: "Time per token", metric: "inter_token_latency_seconds_count", lines: [spread("inter_token_latency_seconds", 0.5), spread("inter_token_latency_seconds", 0.95)], show: duration, least: 0.01, more: (now, [, p95]) => `median of 30 s; p95 ${duration(p95)}` },
  { title: "Running", metric: "requests_running", lines: [(now) => now.get("requests_running"), (now) => now.get("requests_waiting")], show: count, least: 4, more: (now, [, waiting]) => `${count(waiting)} waiting` },
  { title: "Requests per second", metric: "requests_total", lines: [rate("requests_total")], show: count, least: 2, more: (now) => `${count(now.get("requests_total"))} since the server started` },
  { title: "Cache in use", metric: "cache_pages", lines: [share("cache_pages_used", "cache_pages")], show: percent, least: 1, more: (now) => `${count(now.get("cache_pages_used"))} of ${count(now.get("cache_pages"))} pages; ${count(now.get("preemptions"))} preempted` },
  { title: "Prompt tokens from cache", metric: "engine_cached_tokens", lines: [share("engine_cached_tokens", "engine_prompt_tokens")], show: percent, least: 1, more: (now) => `${count(now.get("engine_cached_tokens"))} of ${count(now.get("engine_prompt_tokens"))} since its start` },
  { title: "Engine memory", metric: "engine_memory_bytes", lines: [(now) => now.get("engine_memory_bytes")], show: bytes, least: 1e8, more: () => "resident in main memory" },
  { title: "GPU memory", metric: "device_memory_bytes", lines: [(now) => now.get("device_memory_used_bytes")], show: bytes, least: 1e9, more: (now) => `of ${bytes(now.get("device_memory_bytes"))}` },
];

function buildTile(tile) {
  const node = element("section", undefined, "tile");
  const [figure, more, scale] = [element("b", "–"), element("span", "", "muted"), element("span", "", "scale")];
  const drawn = plot(tile.title);
  node.append(element("h3", tile.title), figure, more, drawn.node, scale);
  byId("tiles").append(node);
  return Object.assign(tile, { node, figure, more_: more, scale, drawn, history: tile.lines.map(() => []) });
}

TILES.forEach(buildTile);

function drawTile(tile, now, before, past) {
  tile.node.hidden = !now.has(tile.metric) || (tile.metric.endsWith("_bytes") && !now.get(tile.metric));
  const values = tile.lines.map((line) => line(now, before, past));
  values.forEach((value, i) => {
    tile.history[i].push(value);
    if (tile.history[i].length > SPAN) tile.history[i].shift();
  });
  tile.figure.textContent = tile.show(values[0]);
  tile.more_.textContent = tile.more(now, values);
  tile.scale.textContent = tile.show(tile.drawn.draw(tile.history, tile.least, tile.show));
}

function show(now) {
  readings.push(Object.assign(now, { at: performance.now() }));
  if (readings.length > 31) readings.shift();
  const before = readings.at(-2) || now;
  if (before !== now) TILES.forEach((tile) => drawTile(tile, now, before, readings[0]));
  const up = now.get("engine_up") === 1;
  state(up ? "ready" : "engine away");
  byId("now").textContent = up && before !== now ? `${count(rate("generation_tokens_total")(now, before))} tokens/s` : "";
}

const AWAY = {
  "engine away": "The engine is away: it is starting, or being started again. Messages wait for it.",
  "no server": "The server cannot be reached. The page goes on by itself when it is back.",
  "no key": "This server wants an API key. Settings has a button to give it.",
};

function state(text) {
  if (byId("state").textContent === text) return;
  const follow = atEnd();
  byId("state").textContent = text;
  byId("state").className = text in AWAY ? "down" : "up";
  byId("away").hidden = !(text in AWAY);
  byId("away").textContent = AWAY[text] ?? "";
  if (follow) toEnd(); // the line above took some of the room
  if (text === "ready") describe().catch(() => {});
}

async function watch() {
  for (;;) {
    if (!document.hidden) {
      try {
        const response = await call("/metrics");
        if (response.ok) show(parsed(await response.text()));
      } catch (error) {
        byId("now").textContent = "";
        state(error.status === 401 ? "no key" : "no server");
        if (error.status === 401) await new Promise((done) => addEventListener("key", done, { once: true }));
      }
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}
