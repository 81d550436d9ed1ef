import { describe, expect, test } from "bun:test";

import { refuse } from "../../src/inspector/access.ts";

type HeaderValues = Record<string, string>;

const LOCAL = { host: "127.0.0.1:3001" };
const OWN = { ...LOCAL, origin: "http://127.0.0.1:3001" };
const PUBLIC = { host: "hooks.example.com", origin: "https://hooks.example.com" };

function errorOf(method: string, path: string, headers: HeaderValues, { remote = false, signedIn = true } = {}) {
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

  test.each(hosts)("the host %p gives the error %p", (host, error) => {
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
  ])("refuses a request with %s, which came through a tunnel or proxy", (name, value) => {
    for (const path of ["/", "/app.js", "/api/server"])
      expect(errorOf("GET", path, { ...LOCAL, [name]: value })).toBe("forwarded");
    expect(errorOf("POST", "/api/send", { ...OWN, [name]: value })).toBe("forwarded");
  });
});

describe("a write", () => {
  const writes: [source: string, error: string | undefined, headers: HeaderValues][] = [
    ["the inspector's own page", undefined, OWN],
    ["the same page, in mixed case", undefined, { host: "LocalHost:3001", origin: "http://localhost:3001" }],
    ["a same-origin page without Origin", undefined, { ...LOCAL, "sec-fetch-site": "same-origin" }],
    ["a client without Origin and Sec-Fetch-Site", "wrong_origin", LOCAL],
    ["a form without Origin", "wrong_origin", { ...LOCAL, "sec-fetch-site": "none" }],
    ["another site", "wrong_origin", { ...LOCAL, origin: "https://example.com" }],
    ["another port", "wrong_origin", { ...LOCAL, origin: "http://127.0.0.1:3000" }],
    ["another name of this machine", "wrong_origin", { ...LOCAL, origin: "http://localhost:3001" }],
    ["a sandboxed frame", "wrong_origin", { ...LOCAL, origin: "null" }],
    ["a host name with the same prefix", "wrong_origin", { ...LOCAL, origin: "http://127.0.0.1:3001.example.com" }],
    ["a file", "wrong_origin", { ...LOCAL, origin: "file://" }],
    ["another site with the inspector's Origin", "other_site", { ...OWN, "sec-fetch-site": "cross-site" }],
    ["another port with the inspector's Origin", "other_site", { ...OWN, "sec-fetch-site": "same-site" }],
    ["a text/plain form", "not_json", { ...OWN, "content-type": "text/plain" }],
    ["a form", "not_json", { ...OWN, "content-type": "application/x-www-form-urlencoded" }],
    ["a form with a file", "not_json", { ...OWN, "content-type": "multipart/form-data; boundary=x" }],
    ["a request of a type similar to JSON", "not_json", { ...OWN, "content-type": "application/json-patch" }],
    ["the page, as JSON", undefined, { ...OWN, "content-type": "application/json; charset=utf-8" }],
  ];

  test.each(writes)("from %s gives the error %p", (_, error, headers) => {
    expect(errorOf("POST", "/api/send", headers)).toBe(error as never);
  });

  test("with a token may come from the host name of a TLS proxy", () => {
    expect(errorOf("POST", "/api/send", PUBLIC, { remote: true })).toBeUndefined();
    expect(errorOf("POST", "/api/send", { ...PUBLIC, host: "10.0.0.2" }, { remote: true })).toBe("wrong_origin");
  });

  test.each(["PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "CONNECT"])(
    "with the method %s is refused",
    (method) => {
      expect(errorOf(method, "/api/send", OWN)).toBe("method_not_allowed");
    },
  );
});

test("refuses reads of the API that another site initiates", () => {
  for (const site of ["cross-site", "same-site"])
    for (const path of ["/api/deliveries", "/api/feed", "/api/search"])
      expect(errorOf("GET", path, { ...LOCAL, "sec-fetch-site": site })).toBe("other_site");
  expect(errorOf("GET", "/", { ...LOCAL, "sec-fetch-site": "cross-site" })).toBeUndefined();
  expect(errorOf("GET", "/api/deliveries", { ...LOCAL, "sec-fetch-site": "none" })).toBeUndefined();
});

describe("without a session", () => {
  const unauthenticated = { remote: true, signedIn: false };

  test("refuses the API on loopback addresses too", () => {
    for (const host of ["localhost:3001", "127.0.0.1:3001", "[::1]:3001"]) {
      const local = { signedIn: false };
      expect(errorOf("GET", "/api/deliveries", { host }, local)).toBe("sign_in");
      expect(errorOf("POST", "/api/send", { host, origin: `http://${host}` }, local)).toBe("sign_in");
      expect(errorOf("GET", "/", { host }, local)).toBeUndefined();
    }
  });

  test("serves the sign-in page and nothing else", () => {
    for (const path of ["/", "/app.js", "/app.css"])
      expect(errorOf("GET", path, PUBLIC, unauthenticated)).toBeUndefined();
    expect(errorOf("POST", "/api/sign-in", PUBLIC, unauthenticated)).toBeUndefined();
    const paths = ["server", "deliveries", "deliveries/msg_1", "feed", "health", "refused", "sign-in", "nothing"];
    for (const path of [...paths.map((path) => `/api/${path}`), "/nothing", "//", "/app.js/", "", "/API/server"])
      expect(errorOf("GET", path, PUBLIC, unauthenticated)).toBe("sign_in");
    for (const path of ["/api/send", "/api/sign-out", "/", "/app.js"])
      expect(errorOf("POST", path, PUBLIC, unauthenticated)).toBe("sign_in");
  });

  test("refuses a sign-in from another site", () => {
    const headers = { ...PUBLIC, origin: "https://example.com" };
    expect(errorOf("POST", "/api/sign-in", headers, unauthenticated)).toBe("wrong_origin");
  });
});

test("with a token and a session, every host name and proxy is accepted", () => {
  const headers = { ...PUBLIC, "x-forwarded-for": "192.0.2.1" };
  for (const path of ["/", "/api/server", "/api/feed"])
    expect(errorOf("GET", path, headers, { remote: true })).toBeUndefined();
});
