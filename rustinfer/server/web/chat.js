// Asking and answering. A conversation that is left goes on being answered: each has at most one answer running.
const running = new Map(); // a conversation's id -> { asked, turn, control }
const KEEP_EVERY = 2000; // ms: what a browser that dies loses of an answer

const answering = () => running.get(conversation.id);
const busy = (turn) => [...running.values()].some((run) => run.turn === turn);

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

// Answers into the last turn of a conversation, which is empty or, where it `goesOn`, holds the beginning.
async function answer(turn, goesOn = false) {
  const asked = conversation;
  asked.system = byId("system").value;
  const body = request(asked, goesOn);
  const clock = { start: performance.now(), first: 0, last: 0, tokens: 0, atFirst: 0, context: 0 };
  const control = new AbortController();
  const live = (text) => asked === conversation && (byId("live").textContent = text);
  Object.assign(turn, { note: "", error: "", end: "left" });
  running.set(asked.id, { asked, turn, control });
  began(turn);
  const draw = drawer(turn);
  let kept = clock.start;
  const arrived = () => {
    live(measured(clock));
    draw();
    if (clock.last - kept < KEEP_EVERY) return;
    kept = clock.last;
    store.save(asked);
  };
  try {
    turn.end = await persist(turn, body, clock, control.signal, arrived, live);
  } catch (error) {
    // A page that is being left has its connections cut too, but does not live to see this moment end.
    if (error.name === "TypeError") await new Promise((done) => setTimeout(done, 100));
    turn.end = error.name === "AbortError" ? "stopped" : "error";
    if (turn.end === "error")
      turn.error = error.name === "TypeError" ? "The connection to the server was lost." : error.message;
  }
  turn.note = measured(clock);
  asked.context = clock.context || asked.context;
  running.delete(asked.id);
  ended(asked, turn);
}

function began(turn) {
  redraw(turn);
  announce("The assistant answers");
  drawConversations();
  showSend();
  toEnd();
}

function ended(asked, turn) {
  if (turn.versions.length) turn.versions[turn.at] = version(turn);
  const seen = asked === conversation;
  const follow = seen && atEnd();
  keep(asked);
  if (!seen) return;
  redraw(turn);
  if (follow) toEnd();
  announce(turn.error || (turn.text ? `Assistant: ${turn.text}` : "Stopped"));
  showSend();
}

function showSend() {
  const is = Boolean(answering());
  byId("send").textContent = is ? "Stop" : "Send";
  byId("send").classList.toggle("stop", is);
  byId("log").classList.toggle("answering", is);
  if (!is) showContext();
}

// How much of what the model can see the conversation takes.
function showContext() {
  const used = conversation.context;
  byId("live").textContent = used && context ? `${count(used)} of ${count(context)} tokens of context used` : "";
}

const stop = () => answering()?.control.abort();

function send(text) {
  if (!text.trim() || answering()) return;
  push(blank("user", text.trim()));
  keep();
  answer(push(blank("assistant")));
}

function push(turn) {
  conversation.turns.push(turn);
  drawTurn(turn);
  return turn;
}

// Asks again: drops what came after, and keeps this answer to come back to.
function regenerate(turn) {
  if (answering()) return;
  cut(conversation.turns.indexOf(turn) + 1);
  if (turn.text) {
    turn.versions[turn.at] = version(turn);
    turn.at = turn.versions.length;
  }
  Object.assign(turn, { text: "", thought: "" });
  answer(turn);
}

// Goes on where an answer was cut.
function goOn(turn) {
  if (answering()) return;
  cut(conversation.turns.indexOf(turn) + 1);
  answer(turn, true);
}

function choose(turn, at) {
  Object.assign(turn, turn.versions[at], { at });
  redraw(turn);
  keep();
}

function resend(turn, text) {
  cut(conversation.turns.indexOf(turn));
  send(text);
}

function cut(at) {
  conversation.turns.splice(at).forEach((turn) => turn.node.remove());
}
