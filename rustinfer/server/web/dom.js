// Building and finding nodes. Nothing here, or anywhere on the page, ever makes a node from a string of HTML.
const byId = (id) => document.getElementById(id);

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function button(text, action, className) {
  const made = element("button", text, className);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

// In words for those who do not see it happen.
function announce(text) {
  byId("announcer").textContent = text;
}

// A line that shows itself for a few seconds.
function notice(text) {
  const line = byId("notice");
  line.textContent = text;
  clearTimeout(notice.timer);
  notice.timer = setTimeout(() => {
    line.textContent = "";
  }, 5000);
}

// The clipboard's own interface exists in secure contexts only: over plain HTTP to another machine it does not.
async function copy(text, from) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", text, "unseen");
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    from.focus();
  }
  const before = from.textContent;
  from.textContent = "Copied";
  announce("Copied");
  setTimeout(() => {
    from.textContent = before;
  }, 1200);
}

function download(name, text) {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
