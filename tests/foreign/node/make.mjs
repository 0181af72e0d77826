// Make a Sigstore bundle around a DSSE envelope with @sigstore/bundle, as another tool would.
//
//   node make.mjs PAYLOAD KEY.pem [HINT] > BUNDLE.json
import { createPrivateKey, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { bundleToJSON, toDSSEBundle } from "@sigstore/bundle";
import { dsse } from "@sigstore/core";

const [payloadFile, keyFile, hint] = process.argv.slice(2);
const artifact = readFileSync(payloadFile);
const artifactType = "application/vnd.in-toto+json";
const key = createPrivateKey(readFileSync(keyFile));
const encoded = dsse.preAuthEncoding(artifactType, artifact);
const signature = sign(key.asymmetricKeyType === "ed25519" ? null : "sha256", encoded, key);
const bundle = toDSSEBundle({ artifact, artifactType, signature, keyHint: hint });
console.log(JSON.stringify(bundleToJSON(bundle), null, 2));
