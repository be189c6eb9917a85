// SHA-256 of a text in UTF-8, as 64 hexadecimal digits (FIPS 180-4). The browser's own works on
// secure pages only, and ComfyUI is often reached over plain HTTP.

const WORD = 2 ** 32;

// The first 32 bits behind the point of a root of the first primes.
function constants(count, power) {
  const primes = [];
  for (let n = 2; primes.length < count; n++) {
    if (primes.every((prime) => n % prime)) primes.push(n);
  }
  return Int32Array.from(primes, (prime) => (prime ** power % 1) * WORD);
}

const START = constants(8, 1 / 2), ROUNDS = constants(64, 1 / 3);

const turned = (x, by) => (x >>> by) | (x << (32 - by));

export function sha256(text) {
  const bytes = padded(new TextEncoder().encode(text));
  const view = new DataView(bytes.buffer), words = new Int32Array(64);
  const hash = Int32Array.from(START);
  for (let at = 0; at < bytes.length; at += 64) {
    for (let i = 0; i < 16; i++) words[i] = view.getInt32(at + 4 * i);
    for (let i = 16; i < 64; i++) words[i] = next(words, i);
    mix(hash, words);
  }
  return [...hash].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

// A one, zeros, and the length in bits, up to whole blocks of 64 bytes.
function padded(content) {
  const bytes = new Uint8Array(Math.ceil((content.length + 9) / 64) * 64);
  bytes.set(content);
  bytes[content.length] = 0x80;
  new DataView(bytes.buffer).setBigUint64(bytes.length - 8, BigInt(content.length) * 8n);
  return bytes;
}

function next(words, i) {
  const late = words[i - 15], early = words[i - 2];
  const s0 = turned(late, 7) ^ turned(late, 18) ^ (late >>> 3);
  const s1 = turned(early, 17) ^ turned(early, 19) ^ (early >>> 10);
  return words[i - 16] + s0 + words[i - 7] + s1;
}

function mix(hash, words) {
  let [a, b, c, d, e, f, g, h] = hash;
  for (let i = 0; i < 64; i++) {
    const s1 = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
    const first = (h + s1 + ((e & f) ^ (~e & g)) + ROUNDS[i] + words[i]) | 0;
    const s0 = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22);
    const second = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((word, i) => { hash[i] += word; });
}
