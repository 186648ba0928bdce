/** Requests that nobody should send: made from realistic ones and a seed. */

import { encodeHex } from "@std/encoding/hex";
import { bytesOf } from "./http.ts";

/** How a made-up request is to be sent, and what must come of it. */
export interface Hostile {
  kind: string;
  event: string;
  /** The header X-GitHub-Delivery. */
  id: string;
  body: Uint8Array<ArrayBuffer>;
  /** Set after signing; null leaves one out. */
  headers: Record<string, string | null>;
  /** Whether its signature proves it, so that it must be kept. */
  isAuthentic: boolean;
  /** Pieces for a bare connection in place of a client, given the signature of `body`; the connection is half closed after them. */
  pieces?: (path: string, signature: string) => (string | Uint8Array)[];
}

/** A realistic delivery to start from. */
export interface Seedling {
  event: string;
  body: object;
}

type Random = () => number;
const pick = <T>(random: Random, list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
const rawJson = (text: string): unknown => (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(text);

/** Values that something is likely to choke on. */
function hostileValue(random: Random): unknown {
  return pick<() => unknown>(random, [
    () => null,
    () => true,
    () => false,
    () => 0,
    () => -1,
    () => 1.5,
    () => -0.1,
    () => 2 ** 31,
    () => 2 ** 53,
    () => rawJson("123456789012345678901234567890"),
    () => rawJson("-1e308"),
    () => rawJson("1e999"),
    () => rawJson(`1${"0".repeat(400)}`),
    () => rawJson("-0"),
    () => rawJson("1e-400"),
    () => "",
    () => "\0",
    () => `a\0b`,
    () => "\ud800",
    () => "x\udfff\ud83d",
    () => "\u{10ffff}\ufffe\uffff\u202e",
    () => "__proto__",
    () => "9999-12-31T23:59:59.999999999999Z",
    () => "0001-01-01T00:00:00Z",
    () => "2026-02-30T25:61:61+99:99",
    () => "infinity",
    () => "NaN",
    () => "%00%ff",
    () => "'; drop schema metrics cascade; --",
    () => '{"a":1}',
    () => "{1,2,NULL}",
    () => "a".repeat(5_000),
    () => "\u{1f4a9}".repeat(2_000),
    () => "@".repeat(3_000),
    () => `${"a@".repeat(2_000)}b.example`,
    () => [],
    () => ({}),
    () => [null],
    () => [[[]]],
    () => Array(2_000).fill(1),
    () => Array(300).fill({ name: "\0" }),
    () => ({ toString: 1, constructor: null, "": [] }),
    () => ({ id: "1", name: {}, length: -1 }),
    () => JSON.parse('{"__proto__":{"isAdmin":true}}'),
    () => Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`k${index}`, index])),
  ])();
}

/** Any JSON value, a few levels deep. */
function anyValue(random: Random, depth = 0): unknown {
  if (depth > 4 || random() < 0.5) return hostileValue(random);
  const size = Math.floor(random() * 6);
  return random() < 0.5
    ? Array.from({ length: size }, () => anyValue(random, depth + 1))
    : Object.fromEntries(Array.from({ length: size }, () => [
      pick(random, [
        "action",
        "id",
        "repository",
        "workflow_job",
        "deployment",
        "\0",
        "__proto__",
        "",
        "\ud800",
        "sender",
      ]),
      anyValue(random, depth + 1),
    ]));
}

/** A copy in which up to eight members, at any depth, are something else. */
function mutated(body: object, random: Random): object {
  const copy = structuredClone(body) as Record<string, unknown>;
  for (let count = 1 + Math.floor(random() * 8); count > 0; count--) {
    let parent: Record<string, unknown> = copy;
    // What is used stands near the top, so a walk often stops there.
    for (;;) {
      const names = Object.keys(parent);
      if (names.length === 0) break;
      const name = pick(random, names);
      const value = parent[name];
      if (typeof value === "object" && value !== null && !("rawJSON" in value) && random() < 0.75) {
        parent = value as Record<string, unknown>;
        continue;
      }
      const change = random();
      if (change < 0.15) delete parent[name];
      else if (change < 0.2) parent[pick(random, ["\0", "constructor", "", "\udc00"])] = value;
      else if (change < 0.3) parent[name] = [value];
      else if (change < 0.4) parent[name] = JSON.stringify(value) ?? "";
      else if (Object.isExtensible(parent)) parent[name] = hostileValue(random);
      break;
    }
  }
  return copy;
}

function nested(random: Random): string {
  const depth = Math.floor(10 ** (1 + 4 * random()));
  const [open, close] = pick(random, [["[", "]"], ['{"a":', "}"], ['[{"a":', "}]"]] as const);
  const inner = `${open.repeat(depth)}1${random() < 0.8 ? close.repeat(depth) : ""}`;
  return pick(random, [
    `{"repository":{"id":1},"workflow_job":{"id":1,"steps":${inner}}}`,
    `{"action":${inner}}`,
    inner,
    `{"deployment":{"payload":${inner},"x":${inner}}}`,
    `{"client_payload":1,"x":${inner}}`,
  ]);
}

const post = (path: string, ...lines: string[]) => [`POST ${path} HTTP/1.1`, "Host: x", ...lines, "", ""].join("\r\n");

/** Requests that are malformed below JSON. None of them carries a signature of what arrives. */
function malformed(id: string, body: Uint8Array, random: Random): [string, NonNullable<Hostile["pieces"]>] {
  const common = (signature: string) => [
    "Content-Type: application/json",
    "X-GitHub-Event: workflow_job",
    `X-GitHub-Delivery: ${id}`,
    `X-Hub-Signature-256: ${signature}`,
  ];
  const half = body.subarray(0, body.length >> 1);
  const withLength = (length: string | number) => (path: string, signature: string) => [
    post(path, ...common(signature), `Content-Length: ${length}`),
    half,
  ];
  const withHeader = (...lines: string[]) => (path: string, signature: string) => [
    post(path, ...common(signature), ...lines),
    half,
  ];
  const chunked = (chunks: string) => (path: string, signature: string) => [
    post(path, ...common(signature), "Transfer-Encoding: chunked"),
    chunks,
  ];
  const kinds: [string, NonNullable<Hostile["pieces"]>][] = [
    ["a length that is too great", withLength(body.length)],
    ["a length that is too small", withLength(half.length - 1)],
    ["a negative length", withLength(-1)],
    ["a length in words", withLength("ten")],
    ["a length with a sign", withLength("+5")],
    ["a length of many digits", withLength("9".repeat(40))],
    ["two lengths", withHeader(`Content-Length: ${half.length}`, "Content-Length: 3")],
    ["a length and chunks", withHeader(`Content-Length: ${half.length}`, "Transfer-Encoding: chunked")],
    ["chunks that are none", chunked("zz\r\n{}\r\n0\r\n\r\n")],
    ["a chunk that is longer than it says", chunked("1\r\n{}\r\n0\r\n\r\n")],
    ["chunks without an end", chunked("2\r\n{}\r\n")],
    ["a chunk of a huge size", chunked("ffffffffffffffffff\r\n{}")],
    ["an unknown transfer encoding", withHeader("Transfer-Encoding: rot13")],
    ["NUL in a header", withHeader("X-Trick: a\0b")],
    ["a folded header", withHeader("X-Trick: a\r\n b", `Content-Length: ${half.length}`)],
    ["a header without a colon", withHeader("X-Trick")],
    ["a header of 300 KB", withHeader(`X-Trick: ${"a".repeat(300_000)}`)],
    ["a thousand headers", withHeader(...Array.from({ length: 1_000 }, (_, index) => `X-Trick-${index}: 1`))],
    ["two signatures", withHeader(`X-Hub-Signature-256: sha256=${"0".repeat(64)}`, `Content-Length: ${half.length}`)],
    ["bytes beyond ASCII in headers", withHeader("X-Trick: \u00ff\u{1f4a9}", `Content-Length: ${half.length}`)],
    ["Expect", withHeader("Expect: 100-continue", `Content-Length: ${half.length}`)],
    ["Upgrade", withHeader("Connection: upgrade", "Upgrade: websocket", `Content-Length: ${half.length}`)],
    ["a bad request line", (path) => [`POST  ${path} HTTP/1.1\r\nHost: x\r\n\r\n`]],
    ["another protocol", (path) => [`POST ${path} HTTP/9.9\r\nHost: x\r\n\r\n`]],
    ["no host", (path, signature) => [`POST ${path} HTTP/1.1\r\n${common(signature).join("\r\n")}\r\n\r\n`]],
    ["a path with everything", (_, signature) => [
      post(`/functions/v1/ingest-metrics/..%2f%00/\u00ff?${"x".repeat(5_000)}`, ...common(signature)),
    ]],
    ["a whole address as path", (path, signature) => [
      post(`http://example.com${path}`, ...common(signature), `Content-Length: ${half.length}`),
      half,
    ]],
    ["nothing that is HTTP", () => [crypto.getRandomValues(new Uint8Array(200))]],
    ["only half of the head", (path) => [`POST ${path} HTTP/1.1\r\nHost: x\r\nX-Hub-`]],
    ["half of the body, a longer head", withHeader(`Content-Length: ${half.length}`)],
  ];
  return pick(random, kinds);
}

/** Makes one request; the same random numbers make the same one, but for its id. */
export function hostileRequest(seedlings: readonly Seedling[], random: Random): Hostile {
  const { event, body } = pick(random, seedlings);
  const plain: Hostile = {
    kind: "",
    event,
    id: crypto.randomUUID(),
    body: bytesOf(body),
    headers: {},
    isAuthentic: true,
  };
  const text = (value: unknown) => bytesOf(JSON.stringify(value) ?? "");
  const make: readonly [weight: number, () => Partial<Hostile> & { kind: string }][] = [
    [30, () => ({ kind: "wrong types", body: text(mutated(body, random)) })],
    [8, () => ({ kind: "any JSON", body: text(anyValue(random)) })],
    [4, () => ({ kind: "deep nesting", body: bytesOf(nested(random)) })],
    [5, () => ({ kind: "truncated", body: plain.body.slice(0, Math.floor(random() * plain.body.length)) })],
    [6, () => {
      const bytes = plain.body.slice();
      for (let count = 1 + random() * 5; count > 0; count--) {
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      }
      return { kind: "changed bytes, signed", body: bytes };
    }],
    [3, () => ({
      kind: "another event",
      event: pick(random, [...seedlings.map((one) => one.event), "ping", "nothing", "", "__proto__", "a".repeat(500)]),
    })],
    [
      3,
      () => ({
        kind: "a strange id",
        id: pick(random, ["", "a b", "#".repeat(20), "é", "x".repeat(300), "../..", "a#b"]) + random(),
      }),
    ],
    [4, () => {
      const value = pick(random, [
        new URLSearchParams({ payload: JSON.stringify(mutated(body, random)) }).toString(),
        `payload=${JSON.stringify(body)}`,
        "payload=%ff%00%",
        "payload",
        "&&==payload=&payload={}",
        `payload=%7B%7D&payload=${encodeURIComponent(JSON.stringify(body))}`,
      ]);
      return { kind: "a form", body: bytesOf(value), headers: { "content-type": "application/x-www-form-urlencoded" } };
    }],
    [3, () => ({ kind: "bytes", body: crypto.getRandomValues(new Uint8Array(Math.floor(random() * 3_000))) })],
    [2, () => ({ kind: "spaces", body: bytesOf(`\ufeff${" ".repeat(random() * 300_000)}{}`) })],
    [2, () => ({ kind: "encodings", headers: { "content-encoding": pick(random, ["gzip", "br", "x", "identity"]) } })],
    [12, () => ({
      kind: "a wrong signature",
      isAuthentic: false,
      headers: {
        "x-hub-signature-256": pick(random, [
          null,
          "",
          "sha256=",
          `sha256=${"0".repeat(64)}`,
          `sha256=${encodeHex(crypto.getRandomValues(new Uint8Array(32)))}`,
          `sha1=${"0".repeat(40)}`,
          `sha256=${"g".repeat(64)}`,
          "sha256=" + "0".repeat(10_000),
        ]),
      },
    })],
    [3, () => ({
      kind: "another content type",
      isAuthentic: false,
      headers: { "content-type": pick(random, ["text/html", "", ",", "application/jsonx", "a".repeat(9_000)]) },
    })],
    [15, () => {
      const [kind, pieces] = malformed(plain.id, plain.body, random);
      return { kind, pieces, isAuthentic: false };
    }],
  ];
  let at = random() * make.reduce((sum, [weight]) => sum + weight, 0);
  const chosen = make.find(([weight]) => (at -= weight) < 0) ?? make[0]!;
  return { ...plain, ...chosen[1]() };
}
