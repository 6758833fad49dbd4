// The conversation: turns on the page, the request, and what it took.
const turns = [];
let running = null;
let model = "";

function request() {
  const number = (id) => (byId(id).value === "" ? undefined : Number(byId(id).value));
  const system = byId("system").value.trim();
  const said = turns.filter((t) => t.text || t.role === "user").map(({ role, text }) => ({ role, content: text }));
  const body = {
    model,
    messages: system ? [{ role: "system", content: system }, ...said] : said,
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
  };
  for (const name of ["temperature", "top_p", "top_k", "max_tokens", "seed"]) body[name] = number(name);
  return body;
}

function add(role, text) {
  byId("hello").hidden = true;
  const node = element("article", undefined, `turn ${role}`);
  node.setAttribute("aria-label", role);
  const content = element("div", role === "user" ? text : undefined, "text");
  node.append(content);
  byId("log").append(node);
  const turn = { role, text, node, content };
  turns.push(turn);
  return turn;
}

function atEnd() {
  const log = byId("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 60;
}

function update(turn) {
  const follow = atEnd();
  turn.content.replaceChildren(...markdown(turn.text));
  if (follow) byId("log").scrollTop = byId("log").scrollHeight;
}

function button(text, action) {
  const made = element("button", text);
  made.addEventListener("click", action);
  return made;
}

function finish(turn, summary) {
  document.querySelectorAll(".actions button").forEach((old) => old.remove());
  const actions = element("div", summary, "actions");
  actions.prepend(button("Regenerate", regenerate), button("Copy", () => navigator.clipboard?.writeText(turn.text)));
  turn.node.append(actions);
  byId("log").scrollTop = byId("log").scrollHeight;
}

// First token's delay and the rate after it, in words.
function measured(clock) {
  if (!clock.first) return "";
  const seconds = (clock.last - clock.first) / 1000;
  const rate = clock.tokens > 1 && seconds > 0 ? ((clock.tokens - 1) / seconds).toFixed(1) : "–";
  return `${rate} tokens/s · first token ${milliseconds((clock.first - clock.start) / 1000)} · ${clock.tokens} tokens`;
}

async function answer() {
  const body = request();
  const turn = add("assistant", "");
  const clock = { start: performance.now(), first: 0, last: 0, tokens: 0 };
  let reason = "";
  let drawn = false;
  running = new AbortController();
  turn.node.classList.add("busy");
  byId("send").textContent = "Stop";
  byId("log").scrollTop = byId("log").scrollHeight;
  try {
    for await (const event of events("/v1/chat/completions", body, running.signal)) {
      const [choice] = event.choices;
      if (event.usage) clock.tokens = event.usage.completion_tokens;
      if (!choice) continue;
      clock.last = performance.now();
      clock.first ||= clock.last;
      turn.text += choice.delta.content || "";
      reason = choice.finish_reason || reason;
      byId("live").textContent = measured(clock);
      if (!drawn) {
        drawn = true;
        requestAnimationFrame(() => {
          drawn = false;
          update(turn);
        });
      }
    }
  } catch (error) {
    reason = error.name === "AbortError" ? "stopped" : "error";
    if (reason === "error") turn.node.append(element("div", error.message, "error"));
  }
  running = null;
  update(turn);
  turn.node.classList.remove("busy");
  byId("send").textContent = "Send";
  byId("live").textContent = "";
  finish(turn, [measured(clock), reason === "length" ? "cut at the token limit" : reason === "stopped" ? "stopped" : ""].filter(Boolean).join(" · "));
}

function send(text) {
  if (!text.trim() || running) return;
  add("user", text.trim());
  answer();
}

function regenerate() {
  if (running || turns.at(-1)?.role !== "assistant") return;
  turns.pop().node.remove();
  answer();
}

function clear() {
  running?.abort();
  turns.splice(0).forEach((turn) => turn.node.remove());
  byId("hello").hidden = false;
  byId("input").focus();
}
