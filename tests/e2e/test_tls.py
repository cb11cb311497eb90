"""TLS on both sides, with certificates made here."""

import datetime
import ipaddress
import socket
import ssl
import time

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import canned
from gateway import config, entry
from mock import Answer, Stream


def certificate(folder, name, issuer=None, days=30):
    """A certificate for localhost and 127.0.0.1, signed by `issuer` or by itself: (cert path, key path, pair)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60)).not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True))
    if issuer:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    cert_path, key_path = folder / f"{name}.pem", folder / f"{name}.key"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return cert_path, key_path, (made, key)


@pytest.fixture
def authority(tmp_path):
    return certificate(tmp_path, "authority")


@pytest.fixture
def leaf(tmp_path, authority):
    return certificate(tmp_path, "leaf", authority[2])


def trusting(authority):
    return ssl.create_default_context(cafile=str(authority[0]))


@pytest.fixture
def server(gateway, upstream, authority, leaf):
    return gateway(config(entry("m", upstream)), "--ssl_certfile_path", leaf[0], "--ssl_keyfile_path", leaf[1],
                   scheme="https", verify=trusting(authority))


def test_server(server, upstream):
    for _ in range(3):
        assert server.chat().status_code == 200


def test_server_stream(server, upstream):
    upstream.answer(Stream(canned.chat_events(words=["x"] * 50), gap_s=0.01))
    assert server.chat(stream=True).text.endswith("data: [DONE]\n\n")


def test_server_large_bodies(server, upstream):
    text = "y" * 3_000_000
    upstream.answer(Answer(body=canned.chat(text)))
    answer = server.chat(content="x" * 3_000_000)
    assert answer.json()["choices"][0]["message"]["content"] == text
    assert len(upstream.last.body) > 3_000_000


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_server_versions(server, authority, version):
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    assert httpx.get(server.base_url + "/health/liveliness", verify=context, trust_env=False).status_code == 200


def test_server_refuses_plain_http(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        plain.settimeout(5)
        data = plain.recv(1000)
    assert b"200" not in data[:15]
    assert server.client.get("/health/liveliness").status_code == 200


@pytest.mark.alone("an answer within a second")
def test_server_hello_that_never_ends(server):
    """Connections that say nothing are closed by the head's deadline and hold nobody up."""
    crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
    began = time.monotonic()
    assert server.chat().status_code == 200 and time.monotonic() - began < 1
    for one in crowd:
        one.close()


def test_server_http_2_is_not_offered(server, authority):
    context = trusting(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            assert secure.selected_alpn_protocol() in (None, "http/1.1")


def test_server_key_without_certificate(gateway, upstream, leaf):
    server = gateway(config(entry("m", upstream)), "--ssl_keyfile_path", leaf[1], wait=False)
    assert server.process.wait(10) == 2 and "ssl_certfile_path" in server.log


def test_server_bad_certificate(gateway, upstream, leaf, tmp_path):
    bad = tmp_path / "bad.pem"
    bad.write_text("not a certificate")
    server = gateway(config(entry("m", upstream)), "--ssl_certfile_path", bad, "--ssl_keyfile_path", leaf[1], wait=False)
    assert server.process.wait(10) != 0 and "bad.pem" in server.log


def test_server_sigterm(server, upstream):
    assert server.chat().status_code == 200
    assert server.terminate() == 0


# The upstream's side

def tls_upstream(upstreams, leaf):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(leaf[0]), str(leaf[1]))
    return upstreams(tls_context=context)


def test_upstream_with_ssl_cert_file(gateway, upstreams, authority, leaf):
    up = tls_upstream(upstreams, leaf)
    server = gateway(config(entry("m", f"https://localhost:{up.port}/v1")), env={"SSL_CERT_FILE": str(authority[0])})
    for _ in range(3):
        answer = server.chat()
        assert answer.status_code == 200, answer.text
    assert server.chat(stream=True).text.endswith("data: [DONE]\n\n")


def test_upstream_by_address(gateway, upstreams, authority, leaf):
    up = tls_upstream(upstreams, leaf)
    server = gateway(config(entry("m", up)), env={"SSL_CERT_FILE": str(authority[0])})
    assert server.chat().status_code == 200


def test_upstream_large_bodies(gateway, upstreams, authority, leaf):
    up = tls_upstream(upstreams, leaf)
    server = gateway(config(entry("m", f"https://localhost:{up.port}/v1")), env={"SSL_CERT_FILE": str(authority[0])})
    text = "y" * 2_000_000
    up.answer(Answer(body=canned.chat(text)))
    assert server.chat(content="x" * 2_000_000).json()["choices"][0]["message"]["content"] == text


def test_upstream_not_trusted(gateway, upstreams, leaf):
    up = tls_upstream(upstreams, leaf)
    server = gateway(config(entry("m", f"https://localhost:{up.port}/v1")))
    answer = server.chat()
    assert answer.status_code >= 500 and not up.requests
    assert "certificate" in (answer.text + server.log).lower()


def test_upstream_wrong_name(gateway, upstreams, authority, tmp_path):
    other = certificate(tmp_path, "other", authority[2])
    up = tls_upstream(upstreams, other)
    server = gateway(config(entry("m", f"https://127.0.0.2:{up.port}/v1")), env={"SSL_CERT_FILE": str(authority[0])})
    assert server.chat().status_code >= 500 and not up.requests


def test_upstream_expired(gateway, upstreams, authority, tmp_path):
    old = certificate(tmp_path, "old", authority[2], days=-1)
    up = tls_upstream(upstreams, old)
    server = gateway(config(entry("m", f"https://localhost:{up.port}/v1")), env={"SSL_CERT_FILE": str(authority[0])})
    assert server.chat().status_code >= 500 and not up.requests


def test_upstream_that_speaks_plain(gateway, upstream, authority):
    server = gateway(config(entry("m", f"https://localhost:{upstream.port}/v1")), env={"SSL_CERT_FILE": str(authority[0])})
    upstream.before_body = None
    answer = server.chat(timeout=1)
    assert answer.status_code >= 500 or answer.status_code == 408, "it waits for a handshake that never comes"


def test_upstream_client_gone_cancels(gateway, upstreams, authority, leaf):
    from gateway import request
    from mock import Hang
    up = tls_upstream(upstreams, leaf)
    up.answer(Hang())
    server = gateway(config(entry("m", f"https://localhost:{up.port}/v1")), env={"SSL_CERT_FILE": str(authority[0])})
    with server.connect() as raw:
        raw.send(request({"model": "m", "messages": []}))
        up.wait(1)
    assert up.only.gone.wait(3)


def test_both_sides(gateway, upstreams, authority, leaf):
    up = tls_upstream(upstreams, leaf)
    server = gateway(config(entry("m", f"https://localhost:{up.port}/v1")), "--ssl_certfile_path", leaf[0], "--ssl_keyfile_path", leaf[1],
                     scheme="https", verify=trusting(authority), env={"SSL_CERT_FILE": str(authority[0])})
    assert server.chat().status_code == 200
    assert server.chat(stream=True).text.endswith("data: [DONE]\n\n")
