"""Makes the environment that leads a client's traffic to the recorder, without a change to the client.

Each client library reads its own variables for the proxy and for the certificates that it trusts; the tables below hold
them. The two files in `inject/` do what variables cannot.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import certifi

from ..atomic_write import write_whole

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
INJECTED = Path(__file__).resolve().parent / "inject"
PYTHON_SITE = INJECTED / "site"
NODE_PRELOAD = INJECTED / "tapeline_preload.cjs"

PROXY_VARIABLES = (
    "HTTPS_PROXY",  # httpx, requests, urllib, aiohttp, node
    "https_proxy",  # git, wget
    "HTTP_PROXY",  # the same libraries for http:// targets, such as a model served on this machine
    "http_proxy",  # curl for http:// targets: it leaves the upper-case name alone, as CGI can forge that one
)

# Each of these replaces what its reader trusts, hence they need a whole bundle and not a lone certificate.
CA_VARIABLES = (
    "SSL_CERT_FILE",  # OpenSSL itself: httpx, urllib, aiohttp, the openai and anthropic SDKs, Ruby, Go
    "REQUESTS_CA_BUNDLE",  # requests, which does not look at SSL_CERT_FILE
    "CURL_CA_BUNDLE",  # curl
    "GIT_SSL_CAINFO",  # git
    "AWS_CA_BUNDLE",  # boto3 and the AWS CLI
    "PIP_CERT",  # pip
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",  # gRPC, which carries its own roots
)

NODE_EXTRA_CA = "NODE_EXTRA_CA_CERTS"  # node adds these to the roots that it carries

NODE_NATIVE_PROXY = "NODE_USE_ENV_PROXY"  # node 22.21, 24 and later; without it they ignore the proxy variables

REMOVED_VARIABLES = (
    "NO_PROXY",  # NO_PROXY=localhost is common, and would hide models served on this machine
    "no_proxy",
    "ALL_PROXY",  # may name another proxy, which some clients prefer for schemes of their own
    "all_proxy",
    "SSL_CERT_DIR",  # OpenSSL reads it beside SSL_CERT_FILE; one bundle is enough and always complete
)

UPSTREAM_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")

SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",  # older Fedora and RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS, the BSDs
)


def client_environment(base: Mapping[str, str], *, proxy_url: str, ca_bundle: Path) -> dict[str, str]:
    """Return the whole environment for a child command: `base`, with every client led through `proxy_url`.

    The user's NODE_OPTIONS and PYTHONPATH stay in force, and a Tapeline inside another one adds its two files only
    once.
    """
    environment = {name: value for name, value in base.items() if name not in REMOVED_VARIABLES}
    environment |= dict.fromkeys(PROXY_VARIABLES, proxy_url)
    environment |= dict.fromkeys((*CA_VARIABLES, NODE_EXTRA_CA), str(ca_bundle.absolute()))
    environment[NODE_NATIVE_PROXY] = "1"
    environment["NODE_OPTIONS"] = _with_preload(base.get("NODE_OPTIONS", ""))
    environment["PYTHONPATH"] = _with_site(base.get("PYTHONPATH", ""))
    return environment


def write_ca_bundle(target: Path, ca_certificate: Path, base: Mapping[str, str]) -> Path:
    """Write the certificates that the user's clients trust today, and Tapeline's own, to `target`.

    A bundle of Tapeline's certificate alone would break every TLS connection that does not pass the proxy,
    such as one to a database. Raises OSError if the certificate cannot be read or the bundle not be written.
    """
    return _write_certificates(target, [*_trusted(base), ca_certificate.read_bytes()])


def write_trusted(target: Path, base: Mapping[str, str]) -> Path:
    """Write the certificates that the user's clients trust today: the system's, and all that variables name.

    Each variable is for one client (AWS_CA_BUNDLE may hold only a company's authority); the proxy speaks for every
    client and needs all of them. Raises OSError if the file cannot be written.
    """
    return _write_certificates(target, _trusted(base))


def upstream_proxy(base: Mapping[str, str]) -> str | None:
    """Return the proxy through which the user's clients reach https:// targets today, as it is written, or None.

    It is likely the only way out, so the recorder has to go through it as well.
    """
    return next((value for name in UPSTREAM_VARIABLES if (value := base.get(name, "").strip())), None)


def _with_preload(node_options: str) -> str:
    option = f"--require={_quoted(str(NODE_PRELOAD))}"
    if option in node_options:
        return node_options
    return f"{node_options} {option}".strip()


def _quoted(path: str) -> str:
    """Quote a path for NODE_OPTIONS, where a space ends an option and a backslash escapes inside double quotes."""
    if not any(character in path for character in ' "\\'):
        return path
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _with_site(python_path: str) -> str:
    """Put the injected folder in front: Python imports only the first `sitecustomize` on the path."""
    if not python_path:
        return str(PYTHON_SITE)  # an empty entry would put the working folder on the path
    others = [entry for entry in python_path.split(os.pathsep) if entry != str(PYTHON_SITE)]
    return os.pathsep.join([str(PYTHON_SITE), *others])


def _trusted(base: Mapping[str, str]) -> Iterator[bytes]:
    """Return PEM files: the system's, else certifi's, then those that variables name."""
    # Not `.cafile`: that one answers with SSL_CERT_FILE of this very process, which `base` need not hold.
    system = (ssl.get_default_verify_paths().openssl_cafile, *SYSTEM_BUNDLES, certifi.where())
    yield next(data for name in system if (data := _read(name)))
    for name in (*CA_VARIABLES, NODE_EXTRA_CA):
        if data := _read(base.get(name)):
            yield data
    for folder in filter(None, base.get("SSL_CERT_DIR", "").split(os.pathsep)):
        for path in sorted(Path(folder).glob("*")):
            if data := _read(str(path)):
                yield data


def _write_certificates(target: Path, files: Iterable[bytes]) -> Path:
    """Write each certificate of the PEM files once, in their order, without keys and comments."""
    certificates = dict.fromkeys(pem for data in files for pem in _CERTIFICATE.findall(data))
    write_whole(target, b"".join(pem + b"\n" for pem in certificates))
    return target


def _read(name: str | None) -> bytes | None:
    """Return the file's content; None for a variable that is not set, a folder, or an unreadable file."""
    try:
        return Path(name).read_bytes() if name else None
    except OSError:
        return None
