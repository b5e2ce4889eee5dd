#!/usr/bin/env bash
# Makes the certificate of this example, its own authority, valid for 30 days.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p certificates
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
    -keyout certificates/queues.key -out certificates/queues.pem \
    -subj "/CN=queue.example" -addext "subjectAltName=DNS:*.queue.example" \
    -addext "basicConstraints=critical,CA:FALSE"
