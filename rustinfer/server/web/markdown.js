// Enough Markdown for answers, built from nodes and never from HTML.
const FENCE = /^\s{0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/;
const HEADING = /^#{1,6}\s+(.*?)\s*#*$/;
const RULE = /^\s{0,3}([-*_])(\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+•]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^\s{0,3}>\s?/;
const FORMULA = /^\s*(?:\\\[([\s\S]*)\\\]|\$\$([\s\S]*)\$\$)\s*$/;
const OPENS = /^\s*(\\\[|\$\$)(?!.*(\\\]|\$\$))/;
const CLOSES = { "\\[": /\\\]\s*$/, $$: /\$\$\s*$/ };
const DIVIDER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

const KINDS = [
  ["heading", HEADING],
  ["rule", RULE],
  ["quote", QUOTE],
  ["list", ITEM],
];
const kindOf = (line) => KINDS.find(([, pattern]) => pattern.test(line))?.[0] || "text";

// Cuts text into the sources of its blocks, so that a growing answer redraws its last block only.
function blocks(text) {
  const found = [];
  let lines = [];
  let kind = "";
  let fence = "";
  const close = () => {
    while (lines.length && !lines.at(-1).trim()) lines.pop();
    if (lines.length) found.push(lines.join("\n"));
    [lines, kind, fence] = [[], "", ""];
  };
  for (const line of text.split("\n")) {
    const mark = line.match(FENCE)?.[1];
    if (fence in CLOSES) {
      lines.push(line);
      if (CLOSES[fence].test(line)) close();
    } else if (fence) {
      lines.push(line);
      if (mark?.startsWith(fence) && line.trim() === mark) close();
    } else if (kind === "list" && (/^\s{2,}\S/.test(line) || !line.trim())) lines.push(line);
    else if (mark ?? OPENS.exec(line)) {
      close();
      [lines, fence] = [[line], mark ?? OPENS.exec(line)[1]];
    } else if (!line.trim()) close();
    else {
      const next = kindOf(line);
      const after = kind === "list" && !lines.at(-1).trim(); // a blank line lies between
      const lazy = next === "text" && (kind === "list" || kind === "quote") && !after;
      if ((next !== kind && !lazy) || kind === "heading" || kind === "rule") close();
      kind ||= next;
      lines.push(line);
    }
  }
  close();
  return found;
}

function block(source, depth = 0) {
  const lines = source.split("\n");
  const [first] = lines;
  if (FENCE.test(first)) return fenced(lines);
  if (depth > DEEPEST) return element("p", source);
  if (HEADING.test(first))
    return inline(element(`h${Math.min(first.match(/^#+/)[0].length + 2, 6)}`), first.match(HEADING)[1]);
  if (RULE.test(first)) return element("hr");
  if (FORMULA.test(source)) return displayed(source.match(FORMULA));
  if (QUOTE.test(first))
    return filled(element("blockquote"), lines.map((line) => line.replace(QUOTE, "")).join("\n"), depth);
  if (ITEM.test(first)) return list(lines, depth);
  if (isTable(lines)) return table(lines);
  const paragraph = element("p");
  lines.forEach((line, i) => {
    if (i) paragraph.append(element("br"));
    inline(paragraph, line.trimEnd());
  });
  return paragraph;
}

function displayed([, square, double]) {
  const paragraph = element("p");
  paragraph.append(formula(square ?? double, true));
  return paragraph;
}

function filled(parent, source, depth) {
  parent.append(...blocks(source).map((part) => block(part, depth + 1)));
  return parent;
}

function list(lines, depth) {
  const [, indent, mark] = lines[0].match(ITEM);
  const made = element(/\d/.test(mark) ? "ol" : "ul");
  if (/\d/.test(mark)) made.start = parseInt(mark, 10);
  const items = [];
  for (const line of lines) {
    const [, before, , text] = line.match(ITEM) || [];
    if (text !== undefined && before.length <= indent.length + 1)
      items.push([text.replace(/^\[([ x])\] /i, (_, x) => (x === " " ? "☐ " : "☑ "))]);
    else items.at(-1).push(line.replace(/^\s{1,4}/, ""));
  }
  for (const item of items) {
    const node = filled(element("li"), item.join("\n"), depth);
    if (node.firstChild?.tagName === "P") node.firstChild.replaceWith(...node.firstChild.childNodes);
    made.append(node);
  }
  return made;
}

const cells = (line) =>
  line
    .trim()
    .replace(/^\||(?<!\\)\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll("\\|", "|"));

const isTable = ([head, divider]) =>
  divider !== undefined && head.includes("|") && DIVIDER.test(divider) && cells(head).length === cells(divider).length;

function table(lines) {
  const sides = cells(lines[1]).map((mark) => (mark.endsWith(":") ? (mark[0] === ":" ? "center" : "right") : ""));
  // As many cells as the head has: a row's others are left out, and what it lacks is empty.
  const row = (line, tag) => {
    const made = element("tr");
    const texts = cells(line);
    made.append(...sides.map((side, i) => inline(element(tag, undefined, side), texts[i] ?? "")));
    return made;
  };
  const made = element("table");
  const [head, body] = [element("thead"), element("tbody")];
  head.append(row(lines[0], "th"));
  body.append(...lines.slice(2).map((line) => row(line, "td")));
  made.append(head, body);
  const wide = element("div", undefined, "wide");
  wide.append(made);
  return wide;
}

function fenced(lines) {
  const [, mark, language] = lines[0].match(FENCE);
  const closed = lines.length > 1 && lines.at(-1).trim().startsWith(mark);
  const source = lines.slice(1, closed ? -1 : undefined).join("\n");
  const [figure, head, pre] = [element("div", undefined, "code"), element("div"), element("pre")];
  head.append(
    element("span", language || "text"),
    button("Copy", (event) => copy(source, event.currentTarget)),
  );
  pre.tabIndex = 0;
  pre.append(highlighted(source, language));
  figure.append(head, pre);
  return figure;
}

// Makes `container` show `text`, leaving the blocks alone whose source is as before.
function render(container, text) {
  const sources = blocks(text);
  sources.forEach((source, i) => {
    const before = container.children[i];
    if (before?.source === source) return;
    const node = Object.assign(block(source), { source });
    if (before) before.replaceWith(node);
    else container.append(node);
  });
  while (container.children.length > sources.length) container.lastChild.remove();
}
