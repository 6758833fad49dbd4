// Asking and answering: the request, the stream, and what it took.
let running = null;

function request() {
  const system = conversation.system.trim();
  const said = conversation.turns.filter((turn) => turn.text).map(({ role, text }) => ({ role, content: text }));
  return {
    messages: system ? [{ role: "system", content: system }, ...said] : said,
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
    ...sampling(),
  };
}

// First token's delay and the rate after it, in words.
function measured(clock) {
  if (!clock.first) return "";
  const seconds = (clock.last - clock.first) / 1000;
  const rate = clock.tokens > 1 && seconds > 0 ? ((clock.tokens - 1) / seconds).toFixed(1) : "–";
  return `${rate} tokens/s · first token ${duration((clock.first - clock.start) / 1000)} · ${clock.tokens} tokens`;
}

// One frame draws what arrived since the last.
function drawer(turn) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const follow = atEnd();
      showTurn(turn);
      if (follow) toEnd();
    });
  };
}

async function receive(turn, body, clock, signal) {
  const draw = drawer(turn);
  let reason = "";
  for await (const event of events("/v1/chat/completions", { model: await modelName(), ...body }, signal)) {
    const [choice] = event.choices;
    if (event.usage) clock.tokens = event.usage.completion_tokens;
    if (!choice) continue;
    clock.last = performance.now();
    clock.first ||= clock.last;
    turn.text += choice.delta.content || "";
    turn.thought += choice.delta.reasoning ?? choice.delta.reasoning_content ?? "";
    reason = choice.finish_reason || reason;
    byId("live").textContent = measured(clock);
    draw();
  }
  return reason;
}

// A server that is not ready says when to ask again; nothing has been generated, so asking again is safe.
async function persist(turn, body, clock, signal) {
  for (;;) {
    try {
      return await receive(turn, body, clock, signal);
    } catch (error) {
      if (error.status !== 503) throw error;
      byId("live").textContent = "The engine is not ready yet. Your message is sent as soon as it is; Esc gives up.";
      await pause(error.after, signal);
    }
  }
}

async function answer() {
  conversation.system = byId("system").value;
  const body = request();
  const asked = conversation;
  const turn = { role: "assistant", text: "", thought: "", note: "" };
  const clock = { start: performance.now(), first: 0, last: 0, tokens: 0 };
  const control = (running = new AbortController());
  conversation.turns.push(turn);
  drawTurn(turn);
  busy(turn, true);
  toEnd();
  let [reason, follow] = ["", false];
  try {
    reason = await persist(turn, body, clock, control.signal);
  } catch (error) {
    follow = atEnd();
    reason = error.name === "AbortError" ? "stopped" : "error";
    if (reason === "error")
      failTurn(turn, error.name === "TypeError" ? "The server cannot be reached. Is it running?" : error.message);
  }
  follow ||= atEnd();
  const ends = { length: "cut at the token limit", stopped: "stopped", error: "broke off" };
  turn.note = [measured(clock), ends[reason]].filter(Boolean).join(" · ");
  showTurn(turn);
  turn.node.querySelector(".actions .note").textContent = turn.note;
  busy(turn, false);
  if (follow) toEnd();
  if (running === control) running = null;
  byId("live").textContent = "";
  if (reason !== "error") announce(turn.text ? `Assistant: ${turn.text}` : "Stopped");
  // Another conversation may be open by now: this one is written down all the same.
  if (asked === conversation) keep();
  else store.save(asked);
  showSend();
}

function busy(turn, is) {
  turn.node.classList.toggle("busy", is);
  turn.node.setAttribute("aria-busy", is);
  if (is) announce("The assistant answers");
  showSend();
}

function showSend() {
  byId("send").textContent = running ? "Stop" : "Send";
  byId("send").classList.toggle("stop", Boolean(running));
  byId("log").classList.toggle("answering", Boolean(running));
}

function stop() {
  running?.abort();
  running = null;
  showSend();
}

function send(text) {
  if (!text.trim() || running) return;
  conversation.turns.push({ role: "user", text: text.trim(), thought: "", note: "" });
  drawTurn(conversation.turns.at(-1));
  keep();
  answer();
}

// Takes back this turn and all after it, and asks again.
function regenerate(turn) {
  if (running) return;
  cut(conversation.turns.indexOf(turn));
  answer();
}

function resend(turn, text) {
  cut(conversation.turns.indexOf(turn));
  send(text);
}

function cut(at) {
  conversation.turns.splice(at).forEach((turn) => turn.node.remove());
}

function pause(seconds, signal) {
  return new Promise((done, fail) => {
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        fail(new DOMException("", "AbortError"));
      },
      { once: true },
    );
  });
}
