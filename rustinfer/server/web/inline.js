// Marks within a line of Markdown: code, emphasis, links. What the model writes becomes text or one of a few elements.
const MARKS = new RegExp(
  [
    /\\([\\`*_{}[\]()#+\-.!~|<>])/, // 1: escaped
    /(`+)([^`]|[^`][\s\S]*?[^`])\2(?!`)/, // 2, 3: code
    /!?\[([^[\]]{1,500})\]\(<?([^\s()<>]{1,2000}(?:\([^\s()]*\))?)>?(?:\s+"[^"]{0,300}")?\)/, // 4, 5: link or image
    /<?(https?:\/\/[^\s<>"'`]{1,2000}[^\s<>"'`.,;:!?)\]*_])>?/, // 6: address
    /(\*\*|__)(?=\S)([^\n]{0,2000}?\S)\7/, // 7, 8: strong
    /~~(?=\S)([^\n]{0,2000}?\S)~~/, // 9: struck
    /\*(?=[^\s*])([^\n*]{0,2000}?[^\s*])\*(?!\*)/, // 10: emphasis
    /(?<![\p{L}\p{N}_])_(?=[^\s_])([^\n]{0,2000}?[^\s_])_(?![\p{L}\p{N}_])/, // 11: emphasis
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

function marked(found, depth) {
  const [, escaped, , code, text, address, bare, , strong, struck, em, emphasis] = found;
  if (escaped) return escaped;
  if (code !== undefined) return element("code", code.replace(/^ (.*\S.*) $/, "$1"));
  if (address) return link(address, text, depth);
  if (bare) return link(bare, bare, DEEPEST);
  if (strong) return inline(element("strong"), strong, depth);
  if (struck) return inline(element("del"), struck, depth);
  return inline(element("em"), em ?? emphasis, depth);
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
