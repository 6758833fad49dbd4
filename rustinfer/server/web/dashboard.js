// The strip at the top, from /metrics once a second while the page is seen.
const past = { tokens: null, time: 0, rates: [], first: null };

function parsed(text) {
  const values = {};
  for (const line of text.split("\n")) {
    const found = line.match(/^(\w+)(\{[^}]*\})? (\S+)$/);
    if (found) values[found[1]] = (values[found[1]] || 0) + Number(found[3]);
  }
  return (name) => values[`rustinfer_${name}`] ?? 0;
}

const milliseconds = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`);

function show(value) {
  const up = value("engine_up") === 1;
  const now = performance.now();
  const tokens = value("generation_tokens_total");
  const rate = past.tokens === null ? 0 : ((tokens - past.tokens) * 1000) / (now - past.time);
  Object.assign(past, { tokens, time: now, rates: [...past.rates, Math.max(rate, 0)].slice(-60) });
  const count = value("time_to_first_token_seconds_count");
  const sum = value("time_to_first_token_seconds_sum");
  if (past.first && count > past.first.count) past.mean = (sum - past.first.sum) / (count - past.first.count);
  else if (!past.first && count) past.mean = sum / count;
  past.first = { count, sum };
  byId("m-engine").textContent = up ? "ready" : "away";
  byId("m-engine").className = up ? "up" : "down";
  byId("m-rate").textContent = rate.toFixed(rate < 10 ? 1 : 0);
  byId("m-first").textContent = past.mean === undefined ? "–" : milliseconds(past.mean);
  byId("m-running").textContent = value("requests_running");
  byId("m-waiting").textContent = value("requests_waiting");
  const pages = value("cache_pages");
  byId("m-cache").textContent = pages ? `${((100 * value("cache_pages_used")) / pages).toFixed(0)} %` : "–";
  byId("m-requests").textContent = value("requests_total");
  spark(past.rates);
}

function spark(rates) {
  const top = Math.max(...rates, 1);
  const points = rates.map((r, i) => `${(120 * (i + 60 - rates.length)) / 59} ${27 - (25 * r) / top}`);
  byId("spark-line").setAttribute("d", `M${points.join("L")}`);
  byId("spark-area").setAttribute("d", `M${points.join("L")}V28H${(120 * (60 - rates.length)) / 59}Z`);
}

async function watch() {
  for (;;) {
    if (!document.hidden) {
      try {
        const response = await call("/metrics");
        if (response.ok) show(parsed(await response.text()));
      } catch {
        byId("m-engine").textContent = "no server";
        byId("m-engine").className = "down";
      }
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}
