// One answer as it comes: the request, the stream, and what it took.
const WAITS = {
  503: "The engine is not ready yet. Your message is sent as soon as it is; Esc gives up.",
  unreachable: "The server cannot be reached. Your message is sent as soon as it can; Esc gives up.",
};

// What to send for a conversation whose last turn is the answer to be: a new one, or what there is of it to go on from.
function request(asked, goesOn) {
  const system = asked.system.trim();
  const turns = asked.turns.slice(0, goesOn ? undefined : -1).filter((turn) => turn.text);
  const said = turns.map(({ role, text }) => ({ role, content: text }));
  return {
    messages: system ? [{ role: "system", content: system }, ...said] : said,
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
    ...(goesOn ? { continue_final_message: true, add_generation_prompt: false } : {}),
    ...sampling(),
  };
}

// First token's delay and the rate after it, in words. Tokens that came at once have no rate, only a time.
function measured(clock) {
  if (!clock.first) return "";
  const [seconds, all] = [(clock.last - clock.first) / 1000, (clock.last - clock.start) / 1000];
  const after = clock.tokens - clock.atFirst;
  const rate =
    after > 0 && seconds > 0
      ? `${(after / seconds).toFixed(1)} tokens/s`
      : `${count(clock.tokens)} ${clock.tokens === 1 ? "token" : "tokens"} in ${duration(all)}`;
  const first = `first token ${duration((clock.first - clock.start) / 1000)}`;
  return after > 0 && seconds > 0 ? `${rate} · ${first} · ${count(clock.tokens)} tokens` : rate;
}

async function receive(turn, body, clock, signal, draw) {
  let reason = "";
  for await (const event of events("/v1/chat/completions", { model: await modelName(), ...body }, signal)) {
    const [choice] = event.choices;
    if (event.usage) {
      clock.tokens = event.usage.completion_tokens;
      clock.context = event.usage.prompt_tokens + clock.tokens;
    }
    if (!choice) continue;
    clock.last = performance.now();
    if (!clock.first) [clock.first, clock.atFirst] = [clock.last, clock.tokens];
    turn.text += choice.delta.content || "";
    turn.thought += choice.delta.reasoning ?? choice.delta.reasoning_content ?? "";
    reason = choice.finish_reason || reason;
    draw();
  }
  return reason;
}

// A server that is not ready says when to ask again; nothing has been generated, so asking again is safe.
async function persist(turn, body, clock, signal, draw, wait) {
  for (;;) {
    try {
      return await receive(turn, body, clock, signal, draw);
    } catch (error) {
      const why = error.status ?? (error.name === "TypeError" && !clock.first ? "unreachable" : "");
      if (!(why in WAITS)) throw error;
      wait(WAITS[why]);
      await pause(error.after ?? 1, signal);
    }
  }
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
