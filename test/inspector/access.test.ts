import { describe, expect, test } from "bun:test";

import { refuse } from "../../src/inspector/access.ts";

type Headers_ = Record<string, string>;

const LOCAL = { host: "127.0.0.1:3001" };
const OWN = { ...LOCAL, origin: "http://127.0.0.1:3001" };
const PUBLIC = { host: "hooks.example.com", origin: "https://hooks.example.com" };

function errorOf(method: string, path: string, headers: Headers_, { remote = false, signedIn = true } = {}) {
  return refuse({ method, path, headers: new Headers(headers), signedIn }, { remote })?.error;
}

describe("without INSPECTOR_TOKEN", () => {
  const hosts: [host: string, error: string | undefined][] = [
    ["127.0.0.1:3001", undefined],
    ["127.0.0.1", undefined],
    ["127.8.9.10:1", undefined],
    ["localhost:3001", undefined],
    ["LOCALHOST", undefined],
    ["bellhop.localhost:3001", undefined],
    ["a.b.localhost", undefined],
    ["[::1]:3001", undefined],
    ["", "wrong_host"],
    ["example.com", "wrong_host"],
    ["localhost.example.com", "wrong_host"],
    ["127.0.0.1.nip.io:3001", "wrong_host"],
    ["evil-localhost", "wrong_host"],
    [".localhost", "wrong_host"],
    ["0.0.0.0:3001", "wrong_host"],
    ["192.168.1.10:3001", "wrong_host"],
    ["[::]:3001", "wrong_host"],
    ["[::ffff:127.0.0.1]:3001", "wrong_host"],
    ["2130706433", "wrong_host"],
    ["localhost:3001, example.com", "wrong_host"],
    ["user@localhost", "wrong_host"],
    ["localhost/", "wrong_host"],
  ];

  test.each(hosts)("a request to the host %p is answered or refused as it should be (%p)", (host, error) => {
    expect(errorOf("GET", "/", { host })).toBe(error as never);
    expect(errorOf("GET", "/api/server", { host })).toBe(error as never);
  });

  test.each([
    ["Forwarded", "for=192.0.2.1"],
    ["X-Forwarded-For", "192.0.2.1"],
    ["x-forwarded-host", "hooks.example.com"],
    ["X-Forwarded-Proto", "https"],
    ["X-Forwarded-Port", ""],
    ["X-Real-IP", "192.0.2.1"],
    ["Via", "1.1 proxy"],
    ["CF-Connecting-IP", "192.0.2.1"],
  ])("a request with %s came through a tunnel, and is refused", (name, value) => {
    for (const path of ["/", "/app.js", "/api/server"])
      expect(errorOf("GET", path, { ...LOCAL, [name]: value })).toBe("forwarded");
    expect(errorOf("POST", "/api/send", { ...OWN, [name]: value })).toBe("forwarded");
  });
});

describe("a write", () => {
  const writes: [what: string, headers: Headers_, error: string | undefined][] = [
    ["the inspector's own page", OWN, undefined],
    ["the same, in other letters", { host: "LocalHost:3001", origin: "http://localhost:3001" }, undefined],
    ["a page that leaves out Origin, but says same-origin", { ...LOCAL, "sec-fetch-site": "same-origin" }, undefined],
    ["nobody knows whom", LOCAL, "wrong_origin"],
    ["a form that another site opened", { ...LOCAL, "sec-fetch-site": "none" }, "wrong_origin"],
    ["another site", { ...LOCAL, origin: "https://example.com" }, "wrong_origin"],
    ["another port", { ...LOCAL, origin: "http://127.0.0.1:3000" }, "wrong_origin"],
    ["another name of this machine", { ...LOCAL, origin: "http://localhost:3001" }, "wrong_origin"],
    ["a sandboxed frame", { ...LOCAL, origin: "null" }, "wrong_origin"],
    ["a name that begins alike", { ...LOCAL, origin: "http://127.0.0.1:3001.example.com" }, "wrong_origin"],
    ["a file", { ...LOCAL, origin: "file://" }, "wrong_origin"],
    ["another site, whatever Origin says", { ...OWN, "sec-fetch-site": "cross-site" }, "other_site"],
    ["another port, whatever Origin says", { ...OWN, "sec-fetch-site": "same-site" }, "other_site"],
    ["a form of text", { ...OWN, "content-type": "text/plain" }, "not_json"],
    ["a form", { ...OWN, "content-type": "application/x-www-form-urlencoded" }, "not_json"],
    ["a form with a file", { ...OWN, "content-type": "multipart/form-data; boundary=x" }, "not_json"],
    ["something like JSON", { ...OWN, "content-type": "application/json-patch" }, "not_json"],
    ["the page, with JSON", { ...OWN, "content-type": "application/json; charset=utf-8" }, undefined],
  ];

  test.each(writes)("that comes from %s is let in or refused as it should be", (_, headers, error) => {
    expect(errorOf("POST", "/api/send", headers)).toBe(error as never);
  });

  test("with a token, it may come from the name that a proxy passes on, by TLS", () => {
    expect(errorOf("POST", "/api/send", PUBLIC, { remote: true })).toBeUndefined();
    expect(errorOf("POST", "/api/send", { ...PUBLIC, host: "10.0.0.2" }, { remote: true })).toBe("wrong_origin");
  });

  test.each(["PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "CONNECT"])("is never a %s", (method) => {
    expect(errorOf(method, "/api/send", OWN)).toBe("method_not_allowed");
  });
});

test("another site can't even have the browser read: not a script, not an image, not a stream", () => {
  for (const site of ["cross-site", "same-site"])
    for (const path of ["/api/deliveries", "/api/feed", "/api/search"])
      expect(errorOf("GET", path, { ...LOCAL, "sec-fetch-site": site })).toBe("other_site");
  expect(errorOf("GET", "/", { ...LOCAL, "sec-fetch-site": "cross-site" })).toBeUndefined();
  expect(errorOf("GET", "/api/deliveries", { ...LOCAL, "sec-fetch-site": "none" })).toBeUndefined();
});

describe("without a session", () => {
  const stranger = { remote: true, signedIn: false };

  test("the loopback proves nothing: a request to localhost is refused as any other", () => {
    for (const host of ["localhost:3001", "127.0.0.1:3001", "[::1]:3001"]) {
      const unauthenticated = { signedIn: false };
      expect(errorOf("GET", "/api/deliveries", { host }, unauthenticated)).toBe("sign_in");
      expect(errorOf("POST", "/api/send", { host, origin: `http://${host}` }, unauthenticated)).toBe("sign_in");
      expect(errorOf("GET", "/", { host }, unauthenticated)).toBeUndefined();
    }
  });

  test("a stranger gets the page that asks for it, and nothing else", () => {
    for (const path of ["/", "/app.js", "/app.css"]) expect(errorOf("GET", path, PUBLIC, stranger)).toBeUndefined();
    expect(errorOf("POST", "/api/sign-in", PUBLIC, stranger)).toBeUndefined();
    const paths = ["server", "deliveries", "deliveries/msg_1", "feed", "health", "refused", "sign-in", "nothing"];
    for (const path of [...paths.map((each) => `/api/${each}`), "/nothing", "//", "/app.js/", "", "/API/server"])
      expect(errorOf("GET", path, PUBLIC, stranger)).toBe("sign_in");
    for (const path of ["/api/send", "/api/sign-out", "/", "/app.js"])
      expect(errorOf("POST", path, PUBLIC, stranger)).toBe("sign_in");
  });

  test("a stranger's sign-in has to come from the page too", () => {
    const headers = { ...PUBLIC, origin: "https://example.com" };
    expect(errorOf("POST", "/api/sign-in", headers, stranger)).toBe("wrong_origin");
  });

  test("who has signed in gets everything, by any name and through any proxy", () => {
    const headers = { ...PUBLIC, "x-forwarded-for": "192.0.2.1" };
    for (const path of ["/", "/api/server", "/api/feed"])
      expect(errorOf("GET", path, headers, { remote: true })).toBeUndefined();
  });
});
