// Colours for code: comments, strings, numbers and the keywords of common languages. No grammar, one expression.
const KEYWORDS = new Set(
  `
    abstract and as async await begin bool boolean break case catch char class const continue def default defer del do
    double elif else end enum except export extends false False final finally float fn for from func function global
    if impl import in int interface is lambda let long loop match mod mut namespace new nil None nonlocal not null
    nullptr or package pass private protected pub public raise return select self short static string struct super
    switch template then this throw throws true True try type typedef undefined union unsigned use using var void
    volatile when where while with yield SELECT FROM WHERE INSERT UPDATE DELETE CREATE TABLE JOIN ON GROUP ORDER BY
    LIMIT AND OR NOT NULL
  `.split(/\s+/),
);
const HASH = new Set(
  "python py bash sh shell console ruby rb yaml yml toml r perl make makefile dockerfile".split(" "),
);
const PLAIN = new Set(["", "text", "txt", "plain", "markdown", "md"]);
const STRING = /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`/.source;
const WORD = /\b\d[\w.]*|[\p{L}_][\p{L}\p{N}_]*/.source;

function highlighted(source, language) {
  const code = element("code");
  if (PLAIN.has(language.toLowerCase()) || source.length > 50_000) {
    code.textContent = source;
    return code;
  }
  const comment = HASH.has(language.toLowerCase())
    ? '#[^\\n]*|"""[\\s\\S]*?"""'
    : "//[^\\n]*|/\\*[\\s\\S]*?\\*/|--[ ][^\\n]*|<!--[\\s\\S]*?-->";
  const parts = new RegExp(`(${comment})|(${STRING})|(${WORD})`, "gu");
  let at = 0;
  for (const found of source.matchAll(parts)) {
    const [text, note, string, word] = found;
    const name = note ? "comment" : string ? "string" : /^\d/.test(word) ? "number" : KEYWORDS.has(word) ? "word" : "";
    if (!name) continue;
    code.append(source.slice(at, found.index), element("span", text, name));
    at = found.index + text.length;
  }
  code.append(source.slice(at));
  return code;
}
