// SHA-256 in hex: the browser's own where it offers it (https and localhost), else by the book.
// Source: FIPS 180-4.

const ROUNDS = 64;
const fraction = (root) => ((root - Math.floor(root)) * 2 ** 32) | 0;
const PRIMES = primes();
const START = PRIMES.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
const K = Int32Array.from(PRIMES, (prime) => fraction(Math.cbrt(prime)));

function primes() {
  const found = [];
  for (let number = 2; found.length < ROUNDS; number += 1) {
    if (found.every((prime) => number % prime)) found.push(number);
  }
  return found;
}

function hex(words) {
  return [...words].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

function padded(bytes) {
  const whole = new Uint8Array((((bytes.length + 8) >> 6) + 1) << 6);
  const view = new DataView(whole.buffer);
  whole.set(bytes);
  whole[bytes.length] = 0x80;
  view.setUint32(whole.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(whole.length - 4, (bytes.length << 3) >>> 0);
  return view;
}

const turn = (word, by) => (word >>> by) | (word << (32 - by));

function fill(words, view, offset) {
  for (let i = 0; i < 16; i += 1) words[i] = view.getInt32(offset + 4 * i);
  for (let i = 16; i < ROUNDS; i += 1) {
    const [near, far] = [words[i - 2], words[i - 15]];
    const s0 = turn(far, 7) ^ turn(far, 18) ^ (far >>> 3);
    const s1 = turn(near, 17) ^ turn(near, 19) ^ (near >>> 10);
    words[i] = (words[i - 16] + s0 + words[i - 7] + s1) | 0;
  }
}

function mix(hash, words) {
  let [a, b, c, d, e, f, g, h] = hash;
  for (let i = 0; i < ROUNDS; i += 1) {
    const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + words[i]) | 0;
    const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((word, i) => (hash[i] = (hash[i] + word) | 0));
}

export function byTheBook(data) {
  const view = padded(new Uint8Array(data));
  const hash = Int32Array.from(START);
  const words = new Int32Array(ROUNDS);
  for (let offset = 0; offset < view.byteLength; offset += 64) {
    fill(words, view, offset);
    mix(hash, words);
  }
  return hex(hash);
}

export async function sha256(data) {
  if (!globalThis.crypto?.subtle) return byTheBook(data);
  const view = new DataView(await crypto.subtle.digest("SHA-256", data));
  return hex(Array.from({ length: 8 }, (_, i) => view.getInt32(4 * i)));
}
