#!/usr/bin/env bash
# Makes the certificates of this example: one for each name, each its own authority, valid for 30 days.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p certificates
for name in shop admin; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
        -keyout "certificates/$name.key" -out "certificates/$name.pem" \
        -subj "/CN=$name.example.com" -addext "subjectAltName=DNS:$name.example.com" \
        -addext "basicConstraints=critical,CA:FALSE"
done
