// Verifies in the reader's browser that an entry is in the log as it is shown.
//
// Nothing is asked of a server: the page carries the content, the leaf, the proof (C2SP
// tlog-proof@v1) and the key.  Hashing is as in RFC 6962, the content is committed to as
// docs/verifying.md says.

const encoder = new TextEncoder();

const fromHex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const same = (a, b) => toHex(a) === toHex(b);

function join(...pieces) {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

const sha256 = async (...pieces) =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", join(...pieces)));
const leafHash = (leaf) => sha256(Uint8Array.of(0), leaf);
const nodeHash = (left, right) => sha256(Uint8Array.of(1), left, right);

// RFC 8785: what JSON.stringify makes of numbers and strings is canonical, if keys are sorted.
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const members = Object.keys(value).sort();
  return `{${members.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
}

// The commitment in a leaf: a digest of each part that is there, and those that purged ones left.
export async function commitment({ parts, purged }) {
  const digests = {};
  for (const [name, digest] of Object.entries(purged)) digests[name] = fromHex(digest);
  for (const [name, { salt, value }] of Object.entries(parts)) {
    const opened = encoder.encode(canonical([name, value]));
    digests[name] = await sha256(encoder.encode("part1\0"), fromHex(salt), opened);
  }
  const listed = Object.keys(digests).sort().map((name) => join(encoder.encode(`${name}\0`), digests[name]));
  return sha256(encoder.encode("evt1\0"), ...listed);
}

export function parseProof(text) {
  const cut = text.indexOf("\n\n");
  if (cut < 0) throw new Error("no checkpoint follows the proof");
  const [version, extra, index, ...hashes] = text.slice(0, cut).split("\n");
  if (version !== "c2sp.org/tlog-proof@v1") throw new Error("not a tlog-proof");
  if (!extra?.startsWith("extra ") || !/^index \d+$/.test(index ?? "")) throw new Error("malformed");
  return {
    leaf: fromBase64(extra.slice(6)),
    index: Number(index.slice(6)),
    hashes: hashes.map(fromBase64),
    note: parseNote(text.slice(cut + 2)),
  };
}

function parseNote(note) {
  const cut = note.indexOf("\n\n");
  if (cut < 0) throw new Error("the checkpoint bears no signature");
  const body = note.slice(0, cut + 1);
  const [origin, size, root] = body.split("\n");
  if (!/^\d+$/.test(size)) throw new Error("malformed");
  const signatures = note.slice(cut + 2).trimEnd().split("\n").map((line) => {
    const [dash, name, signature] = line.split(" ");
    if (dash !== "—" || !signature) throw new Error("malformed");
    return { name, bytes: fromBase64(signature) };
  });
  return { body, origin, size: Number(size), root: fromBase64(root), signatures };
}

// RFC 9162, section 2.1.3.2.
export async function rootFrom(hash, index, size, path) {
  if (index >= size) throw new Error("the entry lies beyond the checkpoint");
  let [node, last, root] = [index, size - 1, hash];
  for (const beside of path) {
    if (last === 0) throw new Error("the path is too long");
    if (node % 2 === 1 || node === last) {
      root = await nodeHash(beside, root);
      while (node % 2 === 0 && node !== 0) {
        node = Math.floor(node / 2);
        last = Math.floor(last / 2);
      }
    } else {
      root = await nodeHash(root, beside);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  if (last !== 0) throw new Error("the path is too short");
  return root;
}

// True or false; null where the browser has no Ed25519.
async function signed(note, vkeys) {
  for (const vkey of vkeys) {
    const [name, keyId, ...rest] = vkey.split("+");
    const key = fromBase64(rest.join("+"));
    for (const signature of note.signatures) {
      if (signature.name !== name || name !== note.origin) continue;
      if (toHex(signature.bytes.slice(0, 4)) !== keyId) continue;
      let imported;
      try {
        imported = await crypto.subtle.importKey("raw", key.slice(1), "Ed25519", false, ["verify"]);
      } catch {
        return null;
      }
      const body = encoder.encode(note.body);
      if (await crypto.subtle.verify("Ed25519", imported, signature.bytes.slice(4), body)) return true;
    }
  }
  return false;
}

async function check(page, text) {
  const leaf = fromHex(page.leaf);
  const opening = JSON.parse(page.opening);
  const found = { content: false, leaf: false, path: false, signature: false };
  const nothingLeft = !Object.keys({ ...opening.parts, ...opening.purged }).length;
  found.content = nothingLeft ? null : same(await commitment(opening), leaf.slice(32));
  try {
    const proof = parseProof(text);
    found.leaf = same(proof.leaf, leaf) && proof.index === Number(page.index);
    found.signature = await signed(proof.note, page.vkeys.split(" "));
    const root = await rootFrom(await leafHash(proof.leaf), proof.index, proof.note.size, proof.hashes);
    found.path = same(root, proof.note.root);
  } catch (error) {
    console.info(`the proof does not verify: ${error.message}`);
  }
  return found;
}

async function show(section) {
  const found = await check(section.dataset, section.querySelector("textarea").value);
  for (const line of section.querySelectorAll("[data-check]")) {
    const good = found[line.dataset.check];
    line.className = good === null ? "unable" : good ? "good" : "bad";
    const unable = line.querySelector("em");
    if (good === null && line.dataset.unable && !unable) {
      line.append(" ", Object.assign(document.createElement("em"), { textContent: `(${line.dataset.unable})` }));
    }
  }
  const good = Object.values(found).every((one) => one !== false);
  const verdict = section.querySelector(".verdict");
  verdict.hidden = false;
  verdict.className = `verdict ${good ? "good" : "bad"}`;
  verdict.textContent = !good ? verdict.dataset.bad
    : found.signature === null ? verdict.dataset.partly : verdict.dataset.good;
}

const section = document.getElementById("verify");
if (section?.querySelector("textarea")) {
  const again = document.getElementById("again");
  again.hidden = false;
  section.querySelector(".unscripted").hidden = true;
  again.addEventListener("click", () => show(section));
  show(section);
}
