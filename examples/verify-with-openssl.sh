#!/bin/sh
# Check the signature of a report without gpuverify: jq, openssl and coreutils are enough.
#
#   verify-with-openssl.sh REPORT.json SELLER.pem [PAYLOAD]
#
# REPORT.json is a Sigstore bundle or a bare DSSE envelope; SELLER.pem is the public key, from the
# seller by a way of its own (`gpuverify key export NAME --pem`), not from beside the report. Where
# PAYLOAD is given, the signed bytes are written there once the signature holds.
#
# Ends with 0 where the signature holds, 1 where it does not, 2 where something is missing. It says
# who signed which bytes; whether they are about your card, fresh, and plausible is what
# `gpuverify verify` looks at.
set -eu

if [ $# -lt 2 ] || [ $# -gt 3 ]; then
  echo "usage: $0 REPORT.json SELLER.pem [PAYLOAD]" >&2
  exit 2
fi
report=$1 key=$2 payload=${3:-}
for tool in jq openssl base64 wc mktemp; do
  command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 2; }
done
for file in "$report" "$key"; do
  [ -r "$file" ] || { echo "$file: no such file" >&2; exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

invalid() {
  echo "INVALID: $1"
  exit 1
}

# Exactly one document with exactly one signature; a bundle holds the envelope one level down.
jq -e -s 'length == 1 and (.[0] | (.dsseEnvelope // .) | .signatures | length == 1)' \
  "$report" >/dev/null 2>&1 || invalid "not one envelope with one signature"
jq -j '(.dsseEnvelope // .).payload' "$report" | base64 -d >"$work/payload" 2>/dev/null ||
  invalid "the payload is not base64"
jq -j '(.dsseEnvelope // .).signatures[0].sig' "$report" | base64 -d >"$work/signature" 2>/dev/null ||
  invalid "the signature is not base64"
type=$(jq -r '(.dsseEnvelope // .).payloadType' "$report")
[ "$type" = "application/vnd.in-toto+json" ] || invalid "another payload type"

# What is signed is not the payload alone (DSSE, pre-authentication encoding).
{
  printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(wc -c <"$work/payload")"
  cat "$work/payload"
} >"$work/signed"

case $(openssl pkey -pubin -in "$key" -noout -text 2>/dev/null | head -n 1) in
  ED25519*)
    openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in "$work/signed" \
      -sigfile "$work/signature" >/dev/null 2>&1 || invalid "the signature does not hold"
    ;;
  Public-Key:*256*)
    openssl dgst -sha256 -verify "$key" -signature "$work/signature" "$work/signed" \
      >/dev/null 2>&1 || invalid "the signature does not hold"
    ;;
  *)
    echo "$key: not an Ed25519 or P-256 public key in PEM" >&2
    exit 2
    ;;
esac
[ -z "$payload" ] || cat "$work/payload" >"$payload"
echo "VALID: signed by the holder of $key"
