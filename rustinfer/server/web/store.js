// Conversations, kept in this browser alone: one entry of localStorage each, so that two tabs do not undo each other.
const PREFIX = "rustinfer.chat.";
const FORMAT = "rustinfer conversations";

const store = {
  // Newest first.
  all: () =>
    Object.keys(localStorage)
      .filter((name) => name.startsWith(PREFIX))
      .map((name) => store.get(name.slice(PREFIX.length)))
      .filter(Boolean)
      .sort((a, b) => b.changed - a.changed),
  get: (id) => {
    try {
      return sound(JSON.parse(localStorage.getItem(PREFIX + id)));
    } catch {
      return null;
    }
  },
  save: (conversation) => {
    try {
      localStorage.setItem(PREFIX + conversation.id, JSON.stringify(sound(conversation)));
    } catch {
      notice("This browser's storage is full: export and delete conversations to make room.");
    }
  },
  remove: (id) => localStorage.removeItem(PREFIX + id),
  text: (conversations) => JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1),
  // Takes in what `text` wrote. Returns how many came in; throws with what is wrong.
  take: (text) => {
    let file;
    try {
      file = JSON.parse(text);
    } catch {
      throw new Error("The file is not JSON.");
    }
    if (file?.format !== FORMAT || !Array.isArray(file.conversations))
      throw new Error("The file holds no conversations exported from here.");
    const taken = file.conversations.map(sound).filter(Boolean);
    taken.forEach((one) => store.save(store.get(one.id) ? { ...one, id: fresh().id } : one));
    return taken.length;
  },
};

function fresh(system = "") {
  const id = Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");
  return { id, title: "", system, changed: Date.now(), context: 0, turns: [] };
}

// A copy with the known fields alone, each of its type; null for what is no conversation.
function sound(one) {
  const turns = one?.turns;
  if (typeof one?.id !== "string" || !Array.isArray(turns)) return null;
  return {
    id: one.id,
    title: words(one.title),
    system: words(one.system),
    changed: Number.isFinite(one.changed) ? one.changed : 0,
    context: Number.isInteger(one.context) ? one.context : 0,
    turns: turns.map(soundTurn).filter(Boolean),
  };
}

const words = (value) => (typeof value === "string" ? value : "");

// The versions are the answers that were given to one message, `at` says which of them is shown.
function soundTurn(turn) {
  if (!["user", "assistant"].includes(turn?.role) || typeof turn.text !== "string") return null;
  const parts = (one) => ({
    text: words(one?.text),
    thought: words(one?.thought),
    note: words(one?.note),
    error: words(one?.error),
    end: words(one?.end),
  });
  const versions = Array.isArray(turn.versions) ? turn.versions.map(parts) : [];
  return { role: turn.role, ...parts(turn), versions, at: versions[turn.at] ? turn.at : 0 };
}
