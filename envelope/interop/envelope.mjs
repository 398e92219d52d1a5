// The envelope as testdata/README.md describes it, over @hpke/core with its X-Wing KEM (suite 1), a KEM of mlkem and Node's P-256
// (suite 2), and Node's AES-GCM: nothing here comes from Go. It is a program for interop_test.go: one JSON command a line on standard input, one JSON answer a line on standard output.
//
//   {"do":"open", suite, private_key, tenant, directory, agent, request, sealed, now_ms}     → {id, name, password, want_attributes}
//   {"do":"seal", suite, public_key, tenant, …, expires_ms, name, password, want_attributes} → {id, sealed}
//   {"do":"go", id, go_nonce}                                                         → {go_token, hold_token}
//   {"do":"open fence", id, go_nonce}                                                 → {account}
//   {"do":"seal fence", id, account}                                                  → {go_nonce}
//   {"do":"open answer", id, sealed}                                                  → {answer}
//   {"do":"seal answer", id, answer}                                                  → {sealed}
//
// Byte strings are hexadecimal, answers are text. A refusal is {"error": word}, with the words of testdata/README.md.
import { createCipheriv, createDecipheriv, createECDH, createHash, createHmac, randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { Aes256Gcm, CipherSuite, HkdfSha256 } from "@hpke/core";
import { XWing } from "@hpke/hybridkem-x-wing";
import { MlKem768 } from "mlkem";

// MlKem768P256 is the KEM of suite 2, with the members that CipherSuite asks of one. A private key is {seed, curve, publicKey}.
class MlKem768P256 {
  id = 0x0050;
  secretSize = 32;
  encSize = 1153;
  publicKeySize = 1249;
  privateKeySize = 32;
  init() {}

  static shared(lattice, product, sent, point) {
    return new Uint8Array(createHash("sha3-256").update(lattice).update(product).update(sent).update(point).update("MLKEM768-P256").digest()).buffer;
  }

  async importKey(_format, seed) {
    const stream = createHash("shake256", { outputLength: 64 + 32 * 8 }).update(seed).digest();
    const curve = createECDH("prime256v1");
    for (let at = 64; ; at += 32) {
      try {
        curve.setPrivateKey(stream.subarray(at, at + 32));
        break;
      } catch (e) {
        if (at + 32 >= stream.length) throw e; // once in 2^256
      }
    }
    const [lattice, secret] = await new MlKem768().deriveKeyPair(new Uint8Array(stream.subarray(0, 64)));
    return { secret, curve, publicKey: Buffer.concat([lattice, curve.getPublicKey()]) };
  }

  async deserializePublicKey(raw) { return Buffer.from(raw); }
  async serializePublicKey(key) { return key; }
  async generateKeyPairDerand(seed) { return await this.importKey("raw", seed); }

  async encap({ recipientPublicKey: to }) {
    const [ciphertext, lattice] = await new MlKem768().encap(new Uint8Array(to.subarray(0, 1184)));
    const own = createECDH("prime256v1"), point = to.subarray(1184), sent = own.generateKeys();
    return { sharedSecret: MlKem768P256.shared(lattice, own.computeSecret(point), sent, point),
      enc: new Uint8Array(Buffer.concat([ciphertext, sent])).buffer };
  }

  async decap({ recipientKey: k, enc }) {
    const sent = Buffer.from(enc.slice(1088));
    const lattice = await new MlKem768().decap(new Uint8Array(enc.slice(0, 1088)), k.secret);
    return MlKem768P256.shared(lattice, k.curve.computeSecret(sent), sent, k.curve.getPublicKey());
  }
}

const withKEM = (kem) => new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const suites = { 1: withKEM(new XWing()), 2: withKEM(new MlKem768P256()) };
const encSizes = { 1: 1120, 2: 1153 };
const headerSize = 31, step = 512, longest = 1024, longestAttribute = 64, maxAnswer = 131072, maxLife = 120_000n;

class Refusal extends Error {}
const refuse = (word) => { throw new Refusal(word); };

const bytes = (hex) => Buffer.from(hex, "hex");
const hex = (b) => Buffer.from(b).toString("hex");
const ascii = (s) => Buffer.from(s, "ascii");
const len16 = (b) => { const n = Buffer.alloc(2); n.writeUInt16BE(b.length); return Buffer.concat([n, b]); };
const padded = (b, fill) => Buffer.concat([b, Buffer.alloc((step - (b.length % step)) % step, fill)]);

const bound = (label, header, c) =>
  Buffer.concat([ascii(label), header, ...[c.tenant, c.directory, c.agent, c.request].map(ascii)].map(len16));

const keyID = (number, publicKey) => createHash("sha256").update(Buffer.from([0, number])).update(publicKey).digest().subarray(0, 16);

// What both ends keep of a context.
const sessions = [];
async function session(context, header, c) {
  const secret = async (use) => Buffer.from(await context.export(ascii(`sallyport envelope 1 ${use}`), 32));
  const sealer = async (use) => ({ key: await secret(use), aad: bound(`sallyport envelope 1 ${use}`, header, c) });
  const id = sessions.push({ go: await secret("go"), hold: await secret("hold"), fence: await sealer("fence"), answer: await sealer("answer") }) - 1;
  return { id };
}

function decode(plain) {
  if (plain.length % step !== 0 || plain[0] > 3) refuse("format");
  let at = 1;
  const cut = () => {
    if (at + 2 > plain.length) refuse("format");
    const size = plain.readUInt16BE(at);
    if (size > longest || at + 2 + size > plain.length) refuse("format");
    at += 2 + size;
    return plain.subarray(at - size, at);
  };
  const name = cut(), password = cut(), attribute = plain[0] & 2 ? cut() : Buffer.alloc(0), padding = plain.subarray(at);
  if ((plain[0] & 2) !== 0 && (attribute.length === 0 || attribute.length > longestAttribute)) refuse("format");
  if (padding.length >= step || padding.some((b) => b !== 0)) refuse("format");
  return { name: hex(name), password: hex(password), attribute: hex(attribute), want_attributes: (plain[0] & 1) === 1 };
}

async function open(c) {
  const sealed = bytes(c.sealed), header = sealed.subarray(0, headerSize);
  if (sealed.length < headerSize || hex(header.subarray(0, 5)) !== hex(ascii("SPEV")) + "01") refuse("format");
  const suite = suites[c.suite], encSize = encSizes[header.readUInt16BE(5)];
  if (encSize === undefined) refuse("suite");
  if (sealed.length < headerSize + encSize + step + 16) refuse("format");
  const recipient = await suite.kem.importKey("raw", new Uint8Array(bytes(c.private_key)), false);
  const publicKey = (await suite.kem.generateKeyPairDerand(new Uint8Array(bytes(c.private_key)))).publicKey;
  const raw = Buffer.from(await suite.kem.serializePublicKey(publicKey));
  if (header.readUInt16BE(5) !== c.suite || !keyID(c.suite, raw).equals(header.subarray(7, 23))) refuse("key id");
  const left = header.readBigInt64BE(23) - BigInt(c.now_ms);
  if (left <= 0n || left > maxLife) refuse("stale");
  let context, plain;
  try {
    const enc = new Uint8Array(sealed.subarray(headerSize, headerSize + encSize)).buffer;
    context = await suite.createRecipientContext({ recipientKey: recipient, enc, info: bound("sallyport envelope 1 info", header, c) });
    plain = await context.open(sealed.subarray(headerSize + encSize), bound("sallyport envelope 1 check", header, c));
  } catch {
    refuse("unreadable");
  }
  return { public_key: hex(raw), ...decode(Buffer.from(plain)), ...(await session(context, header, c)) };
}

async function seal(c) {
  const suite = suites[c.suite], raw = bytes(c.public_key), expires = Buffer.alloc(8);
  expires.writeBigInt64BE(BigInt(c.expires_ms));
  const header = Buffer.concat([ascii("SPEV"), Buffer.from([1, 0, c.suite]), keyID(c.suite, raw), expires]);
  const recipient = await suite.kem.deserializePublicKey(new Uint8Array(raw).buffer);
  const context = await suite.createSenderContext({ recipientPublicKey: recipient, info: bound("sallyport envelope 1 info", header, c) });
  const attribute = bytes(c.attribute);
  const flags = Buffer.from([(c.want_attributes ? 1 : 0) | (attribute.length > 0 ? 2 : 0)]);
  const tail = attribute.length > 0 ? [len16(attribute)] : [];
  const plain = padded(Buffer.concat([flags, len16(bytes(c.name)), len16(bytes(c.password)), ...tail]), 0);
  const ciphertext = await context.seal(plain, bound("sallyport envelope 1 check", header, c));
  const sealed = Buffer.concat([header, Buffer.from(context.enc), Buffer.from(ciphertext)]);
  return { sealed: hex(sealed), ...(await session(context, header, c)) };
}

function go(c) {
  const nonce = bytes(c.go_nonce), { go, hold } = sessions[c.id];
  if (nonce.length < 16 || nonce.length > 64) refuse("nonce");
  const token = (key) => hex(createHmac("sha256", key).update(nonce).digest());
  return { go_token: token(go), hold_token: token(hold) };
}

function openWith({ key, aad }, sealed, error) {
  const d = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, 12));
  d.setAAD(aad);
  d.setAuthTag(sealed.subarray(-16));
  try {
    return Buffer.concat([d.update(sealed.subarray(12, -16)), d.final()]);
  } catch {
    refuse(error);
  }
}

function sealWith({ key, aad }, plain) {
  const nonce = randomBytes(12), e = createCipheriv("aes-256-gcm", key, nonce);
  e.setAAD(aad);
  return Buffer.concat([nonce, e.update(plain), e.final(), e.getAuthTag()]);
}

function openFence(c) {
  const nonce = bytes(c.go_nonce);
  if (nonce.length !== 60) refuse("fence");
  return { account: hex(openWith(sessions[c.id].fence, nonce.subarray(16), "fence")) };
}

function sealFence(c) {
  return { go_nonce: hex(Buffer.concat([randomBytes(16), sealWith(sessions[c.id].fence, bytes(c.account))])) };
}

function openAnswer(c) {
  const sealed = bytes(c.sealed);
  if (sealed.length < 28 || sealed.length > maxAnswer) refuse("answer");
  return { answer: openWith(sessions[c.id].answer, sealed, "answer").toString("utf8") };
}

function sealAnswer(c) {
  return { sealed: hex(sealWith(sessions[c.id].answer, padded(Buffer.from(c.answer, "utf8"), " "))) };
}

const commands = { open, seal, go, "open fence": openFence, "seal fence": sealFence, "open answer": openAnswer, "seal answer": sealAnswer };
for await (const line of createInterface({ input: process.stdin })) {
  const c = JSON.parse(line);
  let answer;
  try {
    answer = await commands[c.do](c);
  } catch (e) {
    if (!(e instanceof Refusal)) throw e;
    answer = { error: e.message };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
