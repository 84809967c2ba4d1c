import { describe, expect, test } from "vitest";
import { isNbdUri, parseNbdUri, printableAddress } from "../../src/nbd/client-address.ts";

describe("parseNbdUri()", () => {
  test.each([
    ["nbd://host", { place: { kind: "tcp", host: "host", port: 10809 }, exportName: "" }],
    ["nbd://host:1/a%20b", { place: { kind: "tcp", host: "host", port: 1 }, exportName: "a b" }],
    ["nbd://[::1]:9/x/y", { place: { kind: "tcp", host: "::1", port: 9 }, exportName: "x/y" }],
    [
      "nbd+unix:///sda?socket=/run/n.sock",
      { place: { kind: "unix", path: "/run/n.sock" }, exportName: "sda" },
    ],
    [
      "nbds://u@h/?tls-psk-file=/k",
      {
        place: { kind: "tcp", host: "h", port: 10809 },
        exportName: "",
        tls: { pskFile: "/k", username: "u" },
      },
    ],
    [
      "nbds+unix://u@/d?socket=/s&tls-psk-file=/k",
      {
        place: { kind: "unix", path: "/s" },
        exportName: "d",
        tls: { pskFile: "/k", username: "u" },
      },
    ],
  ])("%s", (uri, address) => {
    expect(parseNbdUri(uri)).toEqual(address);
    expect(isNbdUri(uri)).toBe(true);
  });

  test.each([
    ["nbd:///x", "no host"],
    ["nbd+unix:///x", "?socket=PATH"],
    ["nbd://h/x?socket=/s", "belongs to nbd+unix"],
    ["nbd://h/x?tls-certificates=/c", "belongs to nbds"],
    ["nbd://h/x?sockte=/s", "not a parameter"],
    ["nbd://h/%zz", "hexadecimal"],
    ["nbd://u:secret@h/", "password"],
    ["nbds://h/?tls-certificates=/c&tls-psk-file=/k", "exclude"],
    ["nbd://h:99999/", "not an NBD URI"],
  ])("%s is refused with the reason", (uri, reason) => {
    expect(() => parseNbdUri(uri)).toThrow(reason);
  });

  test("a path is no URI, whatever it looks like", () => {
    expect(isNbdUri("/srv/nbd://x")).toBe(false);
    expect(isNbdUri("nbd.raw")).toBe(false);
  });

  test("addresses print as they are written, without parameters", () => {
    expect(printableAddress(parseNbdUri("nbd://[::1]/x"))).toBe("nbd://[::1]:10809/x");
    const local = printableAddress(parseNbdUri("nbds+unix:///x?socket=/s&tls-psk-file=/k"));
    expect(local).toBe("nbds+unix:///x?socket=/s");
  });
});
