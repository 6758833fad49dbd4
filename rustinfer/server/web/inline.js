// Marks within a line of Markdown: code, emphasis, links. What the model writes becomes text or one of a few elements.
const MARKS = new RegExp(
  [
    /\\\((?<round>[\s\S]{1,1000}?)\\\)|\\\[(?<square>[\s\S]{1,1000}?)\\\]|\$\$(?<double>[^$]{1,1000})\$\$/, // formulas
    /(?<![\p{L}\p{N}$\\])\$(?=[^\s$])(?<dollar>[^$\n]{0,300}?[^\s$\\])\$(?![\p{L}\p{N}$])/, // formula, no price
    /\\(?<escaped>[\\`*_{}[\]()#+\-.!~|<>$])/,
    // Then code, and links or images.
    /(?<ticks>`+)(?<code>[^`]|[^`][\s\S]*?[^`])\k<ticks>(?!`)/,
    /!?\[(?<text>[^[\]]{1,500})\]\(<?(?<address>[^\s()<>]{1,2000}(?:\([^\s()]*\))?)>?(?:\s+"[^"]{0,300}")?\)/,
    /<?(?<bare>https?:\/\/[^\s<>"'`]{1,2000}[^\s<>"'`.,;:!?)\]*_])>?/,
    /(?<two>\*\*|__)(?=\S)(?<strong>[^\n]{0,2000}?\S)\k<two>/,
    /~~(?=\S)(?<struck>[^\n]{0,2000}?\S)~~/,
    /\*(?=[^\s*])(?<star>[^\n*]{0,2000}?[^\s*])\*(?!\*)/,
    /(?<![\p{L}\p{N}_])_(?=[^\s_])(?<low>[^\n]{0,2000}?[^\s_])_(?![\p{L}\p{N}_])/,
  ]
    .map((mark) => mark.source)
    .join("|"),
  "gu",
);
const DEEPEST = 6;

// An address that may be followed; null for javascript:, data:, and whatever else is no web address.
function safe(address) {
  try {
    const url = new URL(address);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function link(address, text, depth) {
  const href = safe(address);
  if (!href) return inline(element("span"), text, depth);
  const made = element("a");
  Object.assign(made, { href, target: "_blank", rel: "noopener noreferrer nofollow", title: href });
  return inline(made, text, depth);
}

function marked({ groups: m }, depth) {
  if (m.round ?? m.dollar) return formula(m.round ?? m.dollar);
  if (m.square ?? m.double) return formula(m.square ?? m.double, true);
  if (m.escaped) return m.escaped;
  if (m.code !== undefined) return element("code", m.code.replace(/^ (.*\S.*) $/, "$1"));
  if (m.address) return link(m.address, m.text, depth);
  if (m.bare) return link(m.bare, m.bare, DEEPEST);
  if (m.strong) return inline(element("strong"), m.strong, depth);
  if (m.struck) return inline(element("del"), m.struck, depth);
  return inline(element("em"), m.star ?? m.low, depth);
}

function inline(parent, text, depth = 0) {
  let at = 0;
  if (depth < DEEPEST) {
    for (const found of text.matchAll(MARKS)) {
      parent.append(text.slice(at, found.index), marked(found, depth + 1));
      at = found.index + found[0].length;
    }
  }
  parent.append(text.slice(at));
  return parent;
}
