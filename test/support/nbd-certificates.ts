/** An authority, a server's certificate for localhost and a client's, in the names that nbdkit, QEMU and libnbd use. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";

export function makeCertificates(into: string): void {
  mkdirSync(into, { recursive: true });
  const openssl = (...words: string[]): void => {
    execFileSync("openssl", words, { cwd: into, stdio: "ignore" });
  };
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  openssl(
    ...["req", "-x509", ...ec, "-subj", "/CN=ca", "-keyout", "ca-key.pem", "-out", "ca-cert.pem"],
  );
  const issue = (name: string, subject: string, ...more: string[]): void => {
    openssl(
      ...["req", "-x509", ...ec, "-subj", subject, ...more],
      ...["-addext", "basicConstraints=CA:FALSE", "-CA", "ca-cert.pem", "-CAkey", "ca-key.pem"],
      ...["-keyout", `${name}-key.pem`, "-out", `${name}-cert.pem`],
    );
  };
  issue("server", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost");
  issue("client", "/CN=reader");
}
