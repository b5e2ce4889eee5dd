"""The filters that come with the gateway, as cases of the load comparison: what a peer is told, and what is sent.

`NATIVE` are those for which Envoy has a filter of its own, so that both can be compared in one run.
"""

import base64
import functools
import json
import os
import subprocess
import tempfile
import time

API = "type.googleapis.com/envoy.extensions.filters.http."
ISSUER = "https://issuer.bench"


def encoded(data):
    """Base64 for URLs, without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True).stdout


def der_integers(signature):
    """r and s of an ECDSA signature, 32 bytes each (RFC 7518, 3.4)."""
    out, at = b"", 2
    for _ in range(2):
        length = signature[at + 1]
        out += signature[at + 2:at + 2 + length].lstrip(b"\0").rjust(32, b"\0")
        at += 2 + length
    return out


@functools.lru_cache
def token(algorithm):
    """A key set and a token, made by openssl."""
    with tempfile.TemporaryDirectory() as folder:
        key = os.path.join(folder, "key.pem")
        kind = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"] if algorithm == "ES256" else ["-algorithm", "RSA"]
        openssl("genpkey", *kind, "-out", key)
        jwk = {"kid": "bench", "use": "sig", "alg": algorithm}
        if algorithm == "ES256":
            point = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")[-64:]
            jwk |= {"kty": "EC", "crv": "P-256", "x": encoded(point[:32]), "y": encoded(point[32:])}
        else:
            modulus = openssl("rsa", "-in", key, "-noout", "-modulus").decode().strip().split("=")[1]
            jwk |= {"kty": "RSA", "n": encoded(bytes.fromhex(modulus)), "e": "AQAB"}
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": "bench", "sub": "someone", "iat": now, "exp": now + 86400}
        parts = [{"alg": algorithm, "kid": "bench", "typ": "JWT"}, claims]
        text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        signature = openssl("dgst", "-sha256", "-sign", key, data=text.encode())
        signature = der_integers(signature) if algorithm == "ES256" else signature
        return {"keys": [jwk]}, f"{text}.{encoded(signature)}"


def jwt(algorithm, **more):
    jwks, _ = token(algorithm)
    issuer = {"issuer": ISSUER, "audiences": ["bench"], "algorithms": [algorithm], "keys": {"jwks": json.dumps(jwks)}}
    return {"module": "builtin:auth", "config": {"ways": [{"jwt": {"issuers": [issuer], **more}}]}}


def bearer(algorithm):
    return {"authorization": "Bearer " + token(algorithm)[1]}


# What is sent with each case.
HEADERS = {
    "api-key": lambda: {"x-api-key": "bench-key"},
    "cors": lambda: {"origin": "https://shop.test"},
    "auth-key": lambda: {"x-api-key": "bench-key"},
    "jwt-es256": lambda: bearer("ES256"),
    "jwt-rs256": lambda: bearer("RS256"),
    "jwt-es256-known": lambda: bearer("ES256"),
}

TIDEGATE = {
    "api-key": lambda: {"module": "builtin:api-key", "config": {"keys": ["bench-key"]}},
    "auth-key": lambda: {"module": "builtin:auth", "config": {
        "ways": [{"key": {"keys": [{"key": "bench-key", "consumer": "bench"}]}}]}},
    # Each token is verified anew, as Envoy does it.
    "jwt-es256": lambda: jwt("ES256", cache=0),
    "jwt-rs256": lambda: jwt("RS256", cache=0),
    # As it is by default: what was verified is remembered.
    "jwt-es256-known": lambda: jwt("ES256"),
    "limit": lambda: {"module": "builtin:rate-limit", "config": {
        "limits": [{"name": "bench", "rate": "1000000/s burst 1000000", "key": "address"}], "headers": "none"}},
    "fault-inactive": lambda: {"module": "builtin:fault", "config": {
        "faults": [{"match": {"path": {"prefix": "/elsewhere"}}, "abort": {"percent": 100, "status": 503}}],
        "byHeader": {"abort": True}}},
    "cors": lambda: {"module": "builtin:cors", "config": {"origins": ["https://shop.test"], "credentials": True}},
    "transform": lambda: {"module": "builtin:transform", "config": {"request": [{"headers": {
        "set": {"x-method": "{method} {path}"}, "remove": ["x-secret"]}}], "response": [{"headers": {"set": {"x-was": "{status}"}}}]}},
    # The server's answer has no lifetime, so it is not kept; below /keep it has one, and the server is asked once.
    "cache-miss": lambda: {"module": "builtin:cache", "config": {"coalesce": {"wait": "0s"}}},
    "cache-hit": lambda: {"module": "builtin:cache", "config": {}},
    "routing": lambda: {"module": "builtin:routing", "config": {"rules": [{
        "name": "canary", "split": {"arms": [
            {"name": "new", "weight": 10, "to": {"upstream": "u"}}, {"name": "old", "weight": 90, "to": {"upstream": "u"}}]}}]}},
}


def envoy_jwt(algorithm):
    provider = {
        "issuer": ISSUER, "audiences": ["bench"],
        "local_jwks": {"inline_string": json.dumps(token(algorithm)[0])},
    }
    return {
        "name": "jwt",
        "typed_config": {
            "@type": API + "jwt_authn.v3.JwtAuthentication",
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        },
    }


def envoy_limit():
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "name": "limit",
        "typed_config": {
            "@type": API + "local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limit",
            "token_bucket": {"max_tokens": 1000000, "tokens_per_fill": 1000000, "fill_interval": "1s"},
            "filter_enabled": always, "filter_enforced": always,
        },
    }


NATIVE = {
    "jwt-es256": lambda: envoy_jwt("ES256"),
    "jwt-rs256": lambda: envoy_jwt("RS256"),
    "limit": envoy_limit,
}


# What is asked for, where that is not the root.
PATHS = {"cache-hit": "/keep"}


def cases():
    """Names of the cases that are put under load, those that Envoy has as well first."""
    return sorted((name for name in TIDEGATE if name not in PATHS), key=lambda name: (name not in NATIVE, name))
