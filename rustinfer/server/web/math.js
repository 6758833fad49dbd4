// TeX's formulas as MathML, which browsers set by themselves. What is not understood is shown as it was written.
const LONGEST_FORMULA = 3000;
const DEEPEST_FORMULA = 40;
const PIECES = /\\([A-Za-z]+\*?|[\s\S])|\d+(?:[.,]\d+)*|\s+|[\s\S]/gu;

function mathml(tag, content = [], attributes = {}) {
  const node = document.createElementNS("http://www.w3.org/1998/Math/MathML", tag);
  node.append(...[content].flat());
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

const row = (nodes) => (nodes.length === 1 ? nodes[0] : mathml("mrow", nodes));
const fence = (text) => mathml("mo", text.trim(), { stretchy: "true" });

class Formula {
  constructor(source) {
    this.pieces = source.match(PIECES) ?? [];
    this.at = 0;
    this.depth = 0;
  }

  skip() {
    while (/^\s/.test(this.pieces[this.at] ?? "")) this.at += 1;
  }

  peek() {
    this.skip();
    return this.pieces[this.at];
  }

  next() {
    this.skip();
    return this.pieces[this.at++];
  }

  // Up to one of `ends`, which is left to the caller, or to the end of all.
  nodes(ends = []) {
    if (++this.depth > DEEPEST_FORMULA) throw new Error("too deep");
    const found = [];
    for (let piece = this.peek(); piece !== undefined && !ends.includes(piece); piece = this.peek()) {
      const node = this.scripted();
      if (node) found.push(node);
    }
    this.depth -= 1;
    return found;
  }

  scripted() {
    const base = this.atom() ?? (["^", "_", "'"].includes(this.peek()) ? mathml("mrow") : null);
    if (!base) return null;
    let [below, above] = [null, null];
    for (let mark = this.peek(); ["^", "_", "'"].includes(mark); mark = this.peek()) {
      this.next();
      if (mark === "'") above = row([...(above ? [above] : []), mathml("mo", "′")]);
      else if (mark === "^") above = this.argument();
      else below = this.argument();
    }
    if (!below && !above) return base;
    const over = base.limits && (above ? (below ? "munderover" : "mover") : "munder");
    const tag = over || (above ? (below ? "msubsup" : "msup") : "msub");
    return mathml(tag, [base, ...(below ? [below] : []), ...(above ? [above] : [])]);
  }

  // A group in braces, or a single thing.
  argument() {
    if (this.peek() === "{") return row(this.group());
    return this.atom() ?? mathml("mrow");
  }

  group() {
    this.next();
    const nodes = this.nodes(["}"]);
    if (this.next() !== "}") throw new Error("open group");
    return nodes;
  }

  // The text in braces as it stands.
  verbatim() {
    if (this.peek() !== "{") return this.next() ?? "";
    this.next();
    const start = this.at;
    for (let open = 1; open; this.at += 1) {
      const piece = this.pieces[this.at];
      if (piece === undefined) throw new Error("open group");
      open += { "{": 1, "}": -1 }[piece] ?? 0;
    }
    return this.pieces.slice(start, this.at - 1).join("");
  }

  atom() {
    const piece = this.peek();
    if (piece === undefined || ["^", "_", "'", "}", "&"].includes(piece)) {
      if (piece === "&" || piece === "}") this.next();
      return null;
    }
    if (piece === "{") return row(this.group());
    this.next();
    if (piece[0] === "\\" && piece.length > 1) return this.command(piece.slice(1));
    if (/^\d/.test(piece)) return mathml("mn", piece);
    if (/^\p{L}/u.test(piece)) return mathml("mi", piece);
    return mathml("mo", { "-": "−", "*": "∗" }[piece] ?? piece);
  }

  command(name) {
    if (LETTERS.has(name)) return mathml("mi", LETTERS.get(name));
    if (SIGNS.has(name)) return mathml("mo", SIGNS.get(name));
    if (LARGE.has(name)) {
      const sign = LARGE.get(name);
      return Object.assign(mathml("mo", sign), { limits: !INTEGRALS.has(sign) });
    }
    if (FUNCTIONS.has(name)) return Object.assign(mathml("mi", name), { limits: LIMITS.has(name) });
    if (SPACES.has(name)) return mathml("mspace", [], { width: SPACES.get(name) });
    // A space at an end of its text would not be seen.
    if (TEXTS.has(name)) return mathml("mtext", this.verbatim().replace(/^ | $/g, "\u00a0"));
    if (Object.hasOwn(ALPHABETS, name)) return mathml("mi", lettered(name, this.verbatim()));
    if (ACCENTS.has(name)) {
      const mark = mathml("mo", ACCENTS.get(name), { stretchy: String(name.length > 4) });
      return mathml("mover", [this.argument(), mark], { accent: "true" });
    }
    if (SILENT.has(name)) return null;
    if (Object.hasOwn(FORMS, name)) return FORMS[name](this);
    if (/^[^A-Za-z]/.test(name)) return mathml("mo", name === "\\" ? "" : name);
    return mathml("mtext", `\\${name}`);
  }

  // `\left(` … `\right)`: a full stop is no fence at all.
  delimiter() {
    const piece = this.next() ?? "";
    const name = piece.slice(1);
    if (piece === ".") return [];
    return [fence(piece[0] === "\\" && piece.length > 1 ? (SIGNS.get(name) ?? (name === "|" ? "‖" : name)) : piece)];
  }

  environment() {
    const name = this.verbatim();
    if (["array", "alignedat"].includes(name)) this.verbatim();
    const rows = [[]];
    for (;;) {
      rows.at(-1).push(mathml("mtd", this.nodes(["&", "\\\\", "\\end"])));
      const end = this.next();
      if (end === undefined) throw new Error("open environment");
      if (end === "\\end") break;
      if (end === "\\\\") rows.push([]);
    }
    this.verbatim();
    if (rows.length > 1 && rows.at(-1).every((cell) => !cell.firstChild)) rows.pop();
    const kind = ALIGNED.has(name) ? "aligned" : name === "cases" ? "cases" : "";
    const lines = rows.map((cells) => mathml("mtr", cells));
    const table = mathml("mtable", lines, kind ? { class: kind, displaystyle: "true" } : {});
    const [open, close] = FENCES[name] ?? [];
    return mathml("mrow", [...(open ? [fence(open)] : []), table, ...(close ? [fence(close)] : [])]);
  }
}

const fraction = (formula) => mathml("mfrac", [formula.argument(), formula.argument()]);
const FORMS = {
  frac: fraction,
  dfrac: fraction,
  tfrac: fraction,
  cfrac: fraction,
  binom: (f) => row([fence("("), mathml("mfrac", [f.argument(), f.argument()], { linethickness: "0" }), fence(")")]),
  sqrt: (f) => {
    if (f.peek() !== "[") return mathml("msqrt", f.argument());
    f.next();
    const index = row(f.nodes(["]"]));
    f.next();
    return mathml("mroot", [f.argument(), index]);
  },
  left: (f) => {
    const open = f.delimiter();
    const inside = f.nodes(["\\right"]);
    if (f.next() !== "\\right") throw new Error("open fence");
    return mathml("mrow", [...open, ...inside, ...f.delimiter()]);
  },
  underline: (f) => mathml("munder", [f.argument(), mathml("mo", "_", { stretchy: "true" })]),
  underbrace: (f) =>
    Object.assign(mathml("munder", [f.argument(), mathml("mo", "⏟", { stretchy: "true" })]), { limits: true }),
  overset: (f) => mathml("mover", [f.argument(), f.argument()].reverse()),
  underset: (f) => mathml("munder", [f.argument(), f.argument()].reverse()),
  boxed: (f) => mathml("mrow", f.argument(), { class: "boxed" }),
  not: (f) => mathml("mo", `${f.argument().textContent}\u0338`),
  pmod: (f) => row([mathml("mo", "("), mathml("mtext", "mod\u00a0"), f.argument(), mathml("mo", ")")]),
  bmod: () => mathml("mo", "mod"),
  tag: (f) => mathml("mtext", ` (${f.verbatim()})`),
  label: (f) => (f.verbatim(), null),
  begin: (f) => f.environment(),
};

// A formula's node; its source as code where it is too long or no formula.
function formula(source, display = false) {
  try {
    if (source.length > LONGEST_FORMULA) throw new Error("too long");
    const parser = new Formula(source);
    const nodes = parser.nodes();
    const math = mathml("math", mathml("mrow", nodes), display ? { display: "block" } : {});
    if (!display) return math;
    const wide = element("span", undefined, "wide");
    wide.append(math);
    return wide;
  } catch {
    return element("code", source);
  }
}
