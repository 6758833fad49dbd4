// The dashboard, from /metrics once a second while the page is seen.
const readings = [];

function buildTile(tile) {
  const node = element("section", undefined, "tile");
  const [figure, about, scale] = [element("b", "–"), element("span", "", "muted"), element("span", "", "scale")];
  const drawn = plot(tile.title);
  node.append(element("h3", tile.title), figure, about, drawn.node, scale);
  byId("tiles").append(node);
  return Object.assign(tile, { node, figure, about, scale, drawn, history: tile.lines.map(() => []) });
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
  tile.about.textContent = tile.more(now, values);
  tile.scale.textContent = tile.show(tile.drawn.draw(tile.history, tile.least, tile.show));
}

function show(now) {
  // Counters that went back are those of a new server: what was read before says nothing of it.
  if (readings.length && now.get("http_responses_total") < readings.at(-1).get("http_responses_total"))
    readings.length = 0;
  readings.push(Object.assign(now, { at: performance.now() }));
  if (readings.length > 31) readings.shift();
  const before = readings.at(-2) || now;
  if (before !== now) TILES.forEach((tile) => drawTile(tile, now, before, readings[0]));
  const up = now.get("engine_up") === 1;
  state(up ? "ready" : "engine away");
  byId("now").textContent =
    up && before !== now ? `${count(rate("generation_tokens_total")(now, before))} tokens/s` : "";
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
