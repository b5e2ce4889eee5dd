#!/usr/bin/env bash
# Makes the certificates of this example, valid for 30 days: of the gateway, and of an authority with one client.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p certificates
new=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
openssl req -x509 "${new[@]}" -days 30 -keyout certificates/gateway.key -out certificates/gateway.pem \
    -subj "/CN=gateway.example.com" -addext "subjectAltName=DNS:gateway.example.com,IP:127.0.0.1" \
    -addext "basicConstraints=critical,CA:FALSE"
openssl req -x509 "${new[@]}" -days 30 -keyout certificates/operators.key -out certificates/operators.pem \
    -subj "/CN=operators" -addext "basicConstraints=critical,CA:TRUE"
openssl req "${new[@]}" -keyout certificates/operator.key -out certificates/operator.csr -subj "/CN=operator"
openssl x509 -req -days 30 -in certificates/operator.csr -CA certificates/operators.pem \
    -CAkey certificates/operators.key -CAcreateserial -out certificates/operator.pem \
    -extfile <(printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n')
