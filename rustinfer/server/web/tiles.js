// What the dashboard shows: a tile for each of these.

// What a reading says, given the one before it and the one half a minute ago.
const since = (name) => (now, before) => Math.max(now.get(name) - before.get(name), 0);
const rate = (name) => (now, before) => (since(name)(now, before) * 1000) / (now.at - before.at);
const share = (part, whole) => (now) => (now.get(whole) ? now.get(part) / now.get(whole) : NaN);
const of = (part, whole) => (now) => `${count(now.get(part))} of ${count(now.get(whole))}`;
const spread = (name, q) => (now, _, past) => quantile(past.buckets(name), now.buckets(name), q);

// One tile each: `lines` are drawn, the first is the large figure, `more` says what else is known. A tile whose metric
// this server does not have is left out.
const TILES = [
  {
    title: "Tokens per second",
    metric: "generation_tokens_total",
    lines: [rate("generation_tokens_total"), rate("prompt_tokens_total")],
    show: count,
    least: 10,
    more: (now, [, prompt]) => `generated; ${count(prompt)} of prompts`,
  },
  {
    title: "Time to first token",
    metric: "time_to_first_token_seconds_count",
    lines: [spread("time_to_first_token_seconds", 0.5), spread("time_to_first_token_seconds", 0.95)],
    show: duration,
    least: 0.05,
    more: (now, [, p95]) => `median of 30 s; p95 ${duration(p95)}`,
  },
  {
    title: "Time per token",
    metric: "inter_token_latency_seconds_count",
    lines: [spread("inter_token_latency_seconds", 0.5), spread("inter_token_latency_seconds", 0.95)],
    show: duration,
    least: 0.01,
    more: (now, [, p95]) => `median of 30 s; p95 ${duration(p95)}`,
  },
  {
    title: "Running",
    metric: "requests_running",
    lines: [(now) => now.get("requests_running"), (now) => now.get("requests_waiting")],
    show: count,
    least: 4,
    more: (now, [, waiting]) => `${count(waiting)} waiting`,
  },
  {
    title: "Requests per second",
    metric: "requests_total",
    lines: [rate("requests_total")],
    show: count,
    least: 2,
    more: (now) => `${count(now.get("requests_total"))} since the server started`,
  },
  {
    title: "Cache in use",
    metric: "cache_pages",
    lines: [share("cache_pages_used", "cache_pages")],
    show: percent,
    least: 1,
    more: (now) => `${of("cache_pages_used", "cache_pages")(now)} pages; ${count(now.get("preemptions"))} preempted`,
  },
  {
    title: "Prompt tokens from cache",
    metric: "engine_cached_tokens",
    lines: [share("engine_cached_tokens", "engine_prompt_tokens")],
    show: percent,
    least: 1,
    more: (now) => `${of("engine_cached_tokens", "engine_prompt_tokens")(now)} since its start`,
  },
  {
    title: "Engine memory",
    metric: "engine_memory_bytes",
    lines: [(now) => now.get("engine_memory_bytes")],
    show: bytes,
    least: 1e8,
    more: () => "resident in main memory",
  },
  {
    title: "GPU memory",
    metric: "device_memory_bytes",
    lines: [(now) => now.get("device_memory_used_bytes")],
    show: bytes,
    least: 1e9,
    more: (now) => `of ${bytes(now.get("device_memory_bytes"))}`,
  },
];
