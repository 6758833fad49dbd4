// Drawing a token in the head: the best of a block's logits, with Gumbel noise where a row asks for it (ops/philox.py), and
// then of all blocks. That every block has seen every block's best is also what parts one token of a launch from the next.
#pragma once
#include "product.cuh"

// A word of Philox4x32-10 for one entry of the vocabulary.
DEVICE u32 random_word(u64 seed, i64 position, u32 entry) {
  u32 c0 = entry / 4, c1 = 0, c2 = (u32)position, c3 = (u32)((u64)position >> 32), k0 = (u32)seed, k1 = (u32)(seed >> 32);
#pragma unroll
  for (int i = 0; i < 10; i++) {
    const u64 first = (u64)c0 * 0xD2511F53u, second = (u64)c2 * 0xCD9E8D57u;
    c0 = (u32)(second >> 32) ^ c1 ^ k0, c1 = (u32)second;
    c2 = (u32)(first >> 32) ^ c3 ^ k1, c3 = (u32)first;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  const u32 low = entry & 1 ? c1 : c0, high = entry & 1 ? c3 : c2;
  return entry & 2 ? high : low;
}
DEVICE float gumbel(u32 word) {
  const float small = (float)(word >> 8) + 0.5f, large = (float)(~word >> 8) + 0.5f, unit = 1.0f / 16777216;
  return -logf(-(word >> 31 ? log1pf(-large * unit) : logf(small * unit)));
}

// The best score so far, the entry that has it, and what else there is to know of the logits.
// FAILED: somebody has given up.
constexpr u32 ENTRY = (1u << 28) - 1, UNSOUND = 1u << 28, FINITE = 1u << 29, STOP = 1u << 30, FAILED = 1u << 31;
struct Best {
  float score = -INFINITY;
  u32 word = ENTRY;  // the entry; the bits above it are of all logits together

  DEVICE void consider(float logit, float score, u32 entry) {
    if (!(logit < INFINITY)) word |= UNSOUND;
    if (logit > -INFINITY) word |= FINITE;
    merge(score, entry);
  }
  // The lowest entry among equals.
  DEVICE void merge(float other, u32 theirs) {
    const bool better = other > score || (other == score && (theirs & ENTRY) < (word & ENTRY));
    word = (better ? theirs & ENTRY : word & ENTRY) | ((word | theirs) & ~ENTRY);
    score = better ? other : score;
  }
  // Numbers without a sign are in the order of the scores; no score is a NaN, and -0 is 0.
  DEVICE void merge_lanes() {
    const u32 bits = as_bits(score + 0.0f), mine = bits >> 31 ? ~bits : bits | 1u << 31, top = largest_of_lanes(mine);
    word = smallest_of_lanes(mine == top ? word & ENTRY : ENTRY) | bits_of_lanes(word & ~ENTRY);
    score = as_float(top >> 31 ? top ^ 1u << 31 : ~top);
  }
};

// A row of the batch, drawn by TEAM threads: they share its part of every block's vocabulary, and read the winners.
constexpr int TEAM_WARPS = TEAM / 32;
struct Drawing {
  Consumer& c;
  Best best;
  u32 stop = 0;  // of the host; needed at the end of the stage

  DEVICE Drawing(Consumer& c) : c(c) {
    if (c.p.count && block() == 0 && thread() == 0) stop = ask_host(c.p.stop);
  }
  DEVICE void consider(int row, float logit, u32 entry) {
    const Wish wish = c.s.wishes[row];
    float score = logit;
    if (wish.temperature > 0)
      score = logit / wish.temperature + gumbel(random_word(wish.seed, c.row(row).length - wish.begin, entry));
    best.consider(logit, score, entry);
  }

  // Of a team's warps, which have merged their lanes: by one thread for each row.
  DEVICE void leave(int at) const {
    float* to = c.s.merge + c.warp * 4 + at;
    if (c.lane == 0) to[0] = best.score, to[1] = as_float(best.word);
  }
  DEVICE Best team(int row, int at) const {
    Best all;
#pragma unroll
    for (int w = 0; w < TEAM_WARPS; w++) {
      const float* from = c.s.merge + (row * TEAM_WARPS + w) * 4 + at;
      all.merge(from[0], as_bits(from[1]));
    }
    return all;
  }
  DEVICE u32* winners(int row, int block) const {
    return c.p.winners + (u64)c.turn * WINNERS + (row * GRID + block) * 2;
  }

  // A token of every row, told to the host and kept for the next; whether there is to be a next one.
  DEVICE bool finish() {
    best.merge_lanes();
    leave(0);
    barrier(2, THREADS - PRODUCERS * 32);  // the exchange has been cleared
    const int b = thread_anew();
    if (b < c.p.rows) {
      const Best mine = team(b, 0);
      publish((float*)winners(b, block()), mine.score);
      publish(winners(b, block()) + 1, mine.word | (stop ? STOP : 0));
    }
    best = Best();
    if (b / TEAM < c.p.rows) receive(b / TEAM, b % TEAM);
    best.merge_lanes();
    leave(2);
    barrier(1, CONSUMERS);
    if (b < c.p.rows) settle(b);
    fence();
    barrier(2, THREADS - PRODUCERS * 32);
    if (b == 0) mbar_arrive(c.s.drawn);
    return *c.s.going;
  }
  DEVICE void receive(int row, int member) {
#pragma unroll 1
    for (int i = member; i < GRID; i += TEAM) {
      const u32* from = winners(row, i);
      u32 score, word;
      u64 failed;
      Patience patience(c.p);
      do score = look(from), word = look(from + 1), failed = reported(c.p.error);
      while (!(there(score) && there(word)) && !patience.over(S_DRAW, LAYERS));
      best.merge(as_float(score), failed || !there(score) ? FAILED : word);  // a word that is not there says so itself
    }
  }
  // By one thread for each row b, in every block alike.
  DEVICE void settle(int b) {
    const Arguments& p = c.p;
    const Best all = team(b, 2);
    const int t = c.token;
    const bool sound = (all.word & FINITE) && !(all.word & UNSOUND), used = c.row(b).length > 0;
    const int entry = all.word & ENTRY, token = entry < VOCAB ? entry : VOCAB - 1;
    const int last = used ? token : c.row(b).token;
    // Block 0 tells of the stop in row 0; all blocks see the same.
    const bool failed = all.word & FAILED, over = t + 1 >= p.count || ((ROWS == 1 ? all : team(0, 2)).word & STOP) || failed;
    if (!over) c.s.rows[(t + 1) * ROWS + b].token = last;
    if (b == 0) *c.s.going = !over;
    if (block() || failed) return;  // what comes of an error nobody is to believe
#pragma unroll 1
    for (int i = t; i < (over ? p.count : t + 1); i++)
      tell_host(p.told + (u64)i * p.rows + b, i > t || !used ? -2 : sound ? token : -1);
    if (over) {
      p.tokens[b] = last;
      if (used) p.newest[b] = c.row(b).length - 1;
    }
  }
};
