// Verify a Sigstore bundle with @sigstore/verify and a public key.
//
//   node verify.mjs BUNDLE.json KEY.pem [TSA-LEAF.pem TSA-ROOT.pem]
//
// Prints one line, "VALID" or "INVALID code: message", and ends with 0 or 1. With certificates of a
// time-stamping authority exactly one time stamp is demanded, and its time is printed.
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { bundleFromJSON } from "@sigstore/bundle";
import { X509Certificate } from "@sigstore/core";
import { toSignedEntity, Verifier } from "@sigstore/verify";

const [bundleFile, keyFile, ...authority] = process.argv.slice(2);
const key = createPublicKey(readFileSync(keyFile));
const certificates = authority.map((file) => X509Certificate.parse(readFileSync(file, "utf8")));
const material = {
  certificateAuthorities: [],
  timestampAuthorities: certificates.length
    ? [{ certChain: certificates, validFor: { start: new Date(0), end: new Date(8.64e15) } }]
    : [],
  tlogs: [],
  ctlogs: [],
  publicKey: () => ({ publicKey: key, validFor: () => true }),
};
const options = {
  tlogThreshold: 0,
  ctlogThreshold: 0,
  timestampThreshold: certificates.length ? 1 : 0,
};
try {
  const bundle = bundleFromJSON(JSON.parse(readFileSync(bundleFile, "utf8")));
  const entity = toSignedEntity(bundle);
  new Verifier(material, options).verify(entity);
  const times = entity.timestamps.map((found) => found.timestamp.signingTime.toISOString());
  console.log(["VALID", ...times].join(" "));
} catch (error) {
  console.log(`INVALID ${error.code ?? error.name}: ${error.message}`);
  process.exitCode = 1;
}
