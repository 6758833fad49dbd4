// Enough Markdown for answers, built from nodes and never from HTML: what the model writes is only ever text.
function inline(parent, text) {
  const marks = /(`+)(.+?)\1|\*\*(.+?)\*\*|\*([^\s*][^*]*)\*/g;
  let at = 0;
  for (const found of text.matchAll(marks)) {
    parent.append(text.slice(at, found.index));
    const [whole, , code, strong, em] = found;
    parent.append(element(code ? "code" : strong ? "strong" : "em", code ?? strong ?? em));
    at = found.index + whole.length;
  }
  parent.append(text.slice(at));
  return parent;
}

function block(lines) {
  const heading = lines[0].match(/^(#{1,4})\s+(.*)/);
  if (heading && lines.length === 1) return inline(element("h4"), heading[2]);
  const items = lines.map((line) => line.match(/^\s*(?:[-*•]|(\d+)[.)])\s+(.*)/));
  if (items[0]) {
    const list = element(items[0][1] ? "ol" : "ul");
    if (items[0][1]) list.start = Number(items[0][1]);
    lines.forEach((line, i) => {
      if (items[i]) list.append(inline(element("li"), items[i][2]));
      else inline(list.lastChild, ` ${line.trim()}`);
    });
    return list;
  }
  const paragraph = element("p");
  lines.forEach((line, i) => {
    if (i) paragraph.append(element("br"));
    inline(paragraph, line);
  });
  return paragraph;
}

function markdown(text) {
  const nodes = [];
  let lines = [];
  let code = null;
  const flush = () => {
    if (lines.length) nodes.push(block(lines));
    lines = [];
  };
  for (const line of text.split("\n")) {
    if (line.trimStart().startsWith("```")) {
      if (code === null) {
        flush();
        code = [];
      } else {
        nodes.push(fenced(code));
        code = null;
      }
    } else if (code !== null) code.push(line);
    else if (!line.trim()) flush();
    else {
      if (/^#{1,4}\s/.test(line)) flush();
      lines.push(line);
      if (/^#{1,4}\s/.test(line)) flush();
    }
  }
  if (code !== null) nodes.push(fenced(code));
  flush();
  return nodes;
}

function fenced(lines) {
  const pre = element("pre");
  pre.append(element("code", lines.join("\n")));
  return pre;
}
