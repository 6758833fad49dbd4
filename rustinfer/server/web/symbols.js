// What TeX's commands stand for, as far as answers use them.
const split = (text) => text.trim().split(/\s+/);
const pairs = (text) => {
  const all = split(text);
  return new Map(all.filter((_, i) => i % 2 === 0).map((name, i) => [name, all[2 * i + 1]]));
};

const LETTERS = pairs(`
  alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ lambda λ mu μ
  nu ν xi ξ pi π varpi ϖ rho ρ sigma σ varsigma ς tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ
  Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Upsilon Υ Phi Φ Psi Ψ Omega Ω infty ∞ partial ∂ nabla ∇ hbar ℏ ell ℓ Re ℜ Im ℑ
  aleph ℵ emptyset ∅ varnothing ∅ imath ı jmath ȷ
`);
const SIGNS = pairs(`
  times × cdot ⋅ div ÷ pm ± mp ∓ le ≤ leq ≤ ge ≥ geq ≥ ne ≠ neq ≠ approx ≈ equiv ≡ sim ∼ simeq ≃ cong ≅ propto ∝ ll
  ≪ gg ≫ lt < gt > in ∈ notin ∉ ni ∋ subset ⊂ subseteq ⊆ supset ⊃ supseteq ⊇ cup ∪ cap ∩ setminus ∖ to → rightarrow
  → leftarrow ← leftrightarrow ↔ longrightarrow ⟶ Rightarrow ⇒ Leftarrow ⇐ Leftrightarrow ⇔ implies ⟹ iff ⟺ mapsto ↦
  uparrow ↑ downarrow ↓ forall ∀ exists ∃ neg ¬ lnot ¬ land ∧ wedge ∧ lor ∨ vee ∨ oplus ⊕ otimes ⊗ circ ∘ bullet ∙
  ast ∗ star ⋆ cdots ⋯ ldots … dots … vdots ⋮ ddots ⋱ mid ∣ parallel ∥ perp ⊥ angle ∠ triangle △ therefore ∴ because
  ∵ prime ′ degree ° langle ⟨ rangle ⟩ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ vert | lvert | rvert | Vert ‖ lVert ‖ rVert
  ‖ backslash \\ colon : models ⊨ vdash ⊢
`);
const LARGE = pairs("sum ∑ prod ∏ coprod ∐ int ∫ iint ∬ iiint ∭ oint ∮ bigcup ⋃ bigcap ⋂ bigoplus ⨁ bigotimes ⨂");
const INTEGRALS = new Set("∫∬∭∮");
const LIMITS = new Set(split("lim limsup liminf max min sup inf argmax argmin det gcd Pr"));
const FUNCTIONS = new Set([
  ...split("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp arg deg dim ker hom"),
  ...LIMITS,
]);
const ACCENTS = pairs(
  "hat ^ widehat ^ bar ¯ overline ¯ vec → overrightarrow → dot ˙ ddot ¨ tilde ~ widetilde ~ overbrace ⏞",
);
const SPACES = pairs(", 0.17em : 0.22em ; 0.28em ! -0.17em quad 1em qquad 2em").set(" ", "0.33em");
const TEXTS = new Set(split("text textbf textit textrm texttt mathrm mathsf mathit mathtt operatorname mbox"));
const SILENT = new Set(
  split(`displaystyle textstyle scriptstyle limits nolimits nonumber notag big Big bigg Bigg bigl bigr Bigl Bigr biggl
    biggr Biggl Biggr bigm middle`),
);
const FENCES = { pmatrix: "()", bmatrix: "[]", Bmatrix: "{}", vmatrix: "||", Vmatrix: "‖‖", cases: "{" };
const ALIGNED = new Set(split("aligned align align* alignedat split eqnarray"));

// Letters of other alphabets have code points of their own; some were there before and are exceptions.
const ALPHABETS = {
  mathbf: [0x1d400, 0x1d41a, {}],
  boldsymbol: [0x1d400, 0x1d41a, {}],
  bm: [0x1d400, 0x1d41a, {}],
  mathbb: [0x1d538, 0x1d552, { C: "ℂ", H: "ℍ", N: "ℕ", P: "ℙ", Q: "ℚ", R: "ℝ", Z: "ℤ" }],
  mathcal: [0x1d49c, 0x1d4b6, Object.fromEntries(pairs("B ℬ E ℰ F ℱ H ℋ I ℐ L ℒ M ℳ R ℛ e ℯ g ℊ o ℴ"))],
};
ALPHABETS.mathscr = ALPHABETS.mathcal;

function lettered(name, text) {
  const [upper, lower, exceptions] = ALPHABETS[name];
  return text.replace(/[A-Za-z]/g, (letter) => {
    const [first, start] = letter <= "Z" ? [upper, 65] : [lower, 97];
    return exceptions[letter] ?? String.fromCodePoint(first + letter.charCodeAt(0) - start);
  });
}
