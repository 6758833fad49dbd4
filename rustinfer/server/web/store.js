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
  return { id, title: "", system, changed: Date.now(), turns: [] };
}

// A copy with the known fields alone, each of its type; null for what is no conversation.
function sound(one) {
  const turns = one?.turns;
  if (typeof one?.id !== "string" || !Array.isArray(turns)) return null;
  const right = (turn) => ["user", "assistant"].includes(turn?.role) && typeof turn.text === "string";
  const text = (value) => (typeof value === "string" ? value : "");
  return {
    id: one.id,
    title: text(one.title),
    system: text(one.system),
    changed: Number.isFinite(one.changed) ? one.changed : 0,
    turns: turns
      .filter(right)
      .map(({ role, text: said, thought, note }) => ({ role, text: said, thought: text(thought), note: text(note) })),
  };
}
