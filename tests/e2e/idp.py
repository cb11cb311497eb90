"""An identity provider: signs tokens with keys of every kind, serves their public halves as a key set,
and answers questions about opaque tokens (OAuth2)."""

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {"ES256": (ec.SECP256R1(), "P-256", 32), "ES384": (ec.SECP384R1(), "P-384", 48), "ES512": (ec.SECP521R1(), "P-521", 66)}
ALL = ("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


def b64(data):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def hs(claims, secret, alg="HS256", **head):
    signed = f"{b64({'alg': alg, 'typ': 'JWT', **head})}.{b64(claims)}"
    mac = hmac.new(secret.encode(), signed.encode(), getattr(hashlib, "sha" + alg[2:]))
    return f"{signed}.{b64(mac.digest())}"


class Idp:
    def __init__(self, secret="a secret that both sides share"):
        self.secret = secret
        self.hits, self.down, self.opaque, self.asked = 0, False, {}, []
        self.renew()
        idp = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                if idp.down:
                    return self.answer(503, {})
                if self.path == "/keys":
                    idp.hits += 1
                    return self.answer(200, {"keys": idp.published()})
                if self.path == "/.well-known/openid-configuration":
                    return self.answer(200, {"issuer": idp.url, "jwks_uri": idp.url + "/keys"})
                token = self.headers.get("authorization", "").removeprefix("Bearer ")
                idp.asked.append(("GET", token))
                told = idp.opaque.get(token)
                return self.answer(200, told) if told else self.answer(401, {})

            def do_POST(self):
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                token = form["token"][0]
                idp.asked.append(("POST", token, self.headers.get("authorization")))
                return self.answer(200, {"active": True, **idp.opaque[token]} if token in idp.opaque else {"active": False})

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def renew(self):
        """New keys under new names."""
        self.stamp = str(time.monotonic_ns())
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.curves = {alg: ec.generate_private_key(curve) for alg, (curve, _, _) in CURVES.items()}
        self.ed = ed25519.Ed25519PrivateKey.generate()

    def key(self, alg):
        return self.rsa if alg[:2] in ("RS", "PS") else self.ed if alg == "EdDSA" else self.curves[alg]

    def pem(self, alg):
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key(alg).public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def published(self):
        n = self.rsa.public_key().public_numbers()
        made = [{"kty": "RSA", "kid": "rsa" + self.stamp, "n": number(n.n), "e": number(n.e), "use": "sig"}]
        for alg, (_, curve, size) in CURVES.items():
            at = self.curves[alg].public_key().public_numbers()
            made.append({"kty": "EC", "crv": curve, "kid": alg + self.stamp, "alg": alg,
                         "x": b64(at.x.to_bytes(size, "big")), "y": b64(at.y.to_bytes(size, "big"))})
        raw = self.ed.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return made + [{"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA" + self.stamp, "x": b64(raw)}]

    def token(self, alg="RS256", kid=None, exp=600, **claims):
        claims = {**({"exp": int(time.time()) + exp} if exp is not None else {}), **claims}
        if alg.startswith("HS"):
            return hs(claims, self.secret, alg)
        name = "rsa" if alg[:2] in ("RS", "PS") else alg
        signed = f"{b64({'alg': alg, 'kid': kid or name + self.stamp})}.{b64(claims)}".encode()
        if alg.startswith("RS"):
            signature = self.rsa.sign(signed, padding.PKCS1v15(), HASHES[alg[2:]])
        elif alg.startswith("PS"):
            how = HASHES[alg[2:]]
            signature = self.rsa.sign(signed, padding.PSS(padding.MGF1(how), how.digest_size), how)
        elif alg == "EdDSA":
            signature = self.ed.sign(signed)
        else:
            _, _, size = CURVES[alg]
            r, s = decode_dss_signature(self.curves[alg].sign(signed, ec.ECDSA(HASHES[alg[2:]])))
            signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
        return signed.decode() + "." + b64(signature)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
