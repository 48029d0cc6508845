"""How Redis is reached: the forms of its address, and the files by which an installation proves who it is."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from supervisor.errors import UsageError

FORMS = (
    "redis://HOST:PORT/DB, rediss://… (TLS), unix:///PATH, sentinel://HOST:PORT,HOST:PORT/SERVICE?db=DB "
    "or sentinels://… (TLS)"
)
_SCHEMES = ("redis", "rediss", "unix", "redis+socket", "sentinel", "sentinels")
_SENTINEL_PORT = 26379


@dataclass(frozen=True)
class Sentinels:
    """A Redis that sentinels know by the name of its `service`: whichever server is its master now."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Access:
    """What proves to Redis who we are, and to us that it is Redis. Paths of files, and what the password files hold."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    password_file: str = ""
    sentinel_password_file: str = ""
    password: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)

    def environment(self) -> dict[str, str]:
        """Return the variables that it was read from: paths, no secrets."""
        return {f"FSM_{name.upper()}": path for name, path in self.paths.items() if path}

    @property
    def paths(self) -> dict[str, str]:
        """Return the paths by the names of their settings, "" for what is not set."""
        return {name.removeprefix("FSM_").lower(): getattr(self, attribute) for attribute, name in _VARIABLES.items()}

    @property
    def tls(self) -> dict[str, str]:
        """Return the options of a connection that is encrypted, as redis-py and kombu call them.

        Redis has to prove its name to us, by our CA or one that this host believes.
        """
        files = {"ssl_ca_certs": self.ca, "ssl_certfile": self.cert, "ssl_keyfile": self.key}
        return {"ssl_cert_reqs": "required", **{name: path for name, path in files.items() if path}}


_VARIABLES = {
    "ca": "FSM_REDIS_CA",
    "cert": "FSM_REDIS_CERT",
    "key": "FSM_REDIS_KEY",
    "password_file": "FSM_REDIS_PASSWORD_FILE",
    "sentinel_password_file": "FSM_SENTINEL_PASSWORD_FILE",
}


def redacted(url: str) -> str:
    """Return a URL without what stands before its host: it may be a password."""
    return re.sub(r"//.*@", "//…@", url)


def check_url(name: str, url: str) -> None:
    """See that a URL has one of the forms. Raises `UsageError`, which calls it `name`."""
    if urlsplit(url).scheme not in _SCHEMES:
        raise UsageError(f"{name} is {redacted(url)!r}: expected {FORMS}")
    try:
        sentinels_of(url)
    except ValueError as error:
        raise UsageError(f"{name} is {redacted(url)!r}: {error}; expected {FORMS}") from None


def is_encrypted(url: str) -> bool:
    """Tell whether what is said at this address is."""
    return urlsplit(url).scheme in ("rediss", "sentinels")


def sentinels_of(url: str) -> Sentinels | None:
    """Return what a URL of sentinels says, None for a server's own. Raises `ValueError`, which says what is wrong."""
    parts = urlsplit(url)
    if parts.scheme not in ("sentinel", "sentinels"):
        return None
    who, _, hosts = parts.netloc.rpartition("@")
    user, _, password = who.partition(":")
    service, query = unquote(parts.path.strip("/")), parse_qs(parts.query)
    if not service or "/" in service:
        raise ValueError("the name of the service, by which the sentinels know it, is missing or has a / in it")
    if query.keys() - {"db"} or not query.get("db", ["0"])[-1].isdecimal():
        raise ValueError(f"after the ? stands {parts.query!r}, and only db=NUMBER may")
    database = int(query.get("db", ["0"])[-1])
    return Sentinels(
        tuple(_host_of(one) for one in hosts.split(",")), service, database, unquote(user), unquote(password)
    )


def _host_of(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?", text)
    if found is None or int(found[2] or _SENTINEL_PORT) not in range(1, 65536):
        raise ValueError(f"{text!r} is no HOST:PORT of a sentinel")
    return found[1].strip("[]"), int(found[2] or _SENTINEL_PORT)


def broker_url(url: str, password: str) -> str:
    """Return an address as kombu writes it, with `password` in it unless it has its own; for nobody's eyes."""
    found = sentinels_of(url)
    if found is None:
        return _with_password(url, password).replace("unix://", "redis+socket://", 1)
    who = _credentials(found.user, found.password or password)
    hosts = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in found.hosts)
    return ";".join(f"sentinel://{who}{host}/{found.db}" for host in hosts)


def broker_options(url: str, access: Access) -> dict[str, object]:
    """Return what kombu has to be told beside the address: of which service, and how sentinels are asked."""
    found = sentinels_of(url)
    return {} if found is None else {"master_name": found.service, "sentinel_kwargs": sentinel_options(url, access)}


def sentinel_options(url: str, access: Access, timeout: float = 1.0) -> dict[str, object]:
    """Return the options of a connection to a sentinel, which is left for the next one after `timeout` seconds."""
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        **({"password": access.sentinel_password} if access.sentinel_password else {}),
        **({"ssl": True, **access.tls} if is_encrypted(url) else {}),
    }


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    who, _, host = parts.netloc.rpartition("@")
    if not password or ":" in who:
        return url
    return parts._replace(netloc=f"{who}:{quote(password, safe='')}@{host}").geturl()


def _credentials(user: str, password: str) -> str:
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""


def read_access(env: Mapping[str, str], url: str) -> Access:
    """Read `FSM_REDIS_CA` and the like for the Redis at `url`. Raises `UsageError` for what cannot work together."""
    values = {attribute: env.get(name, "") for attribute, name in _VARIABLES.items()}
    files = {attribute: str(Path(path).resolve()) if path else "" for attribute, path in values.items()}
    _check_together(files, url)
    access = Access(
        **files,
        password=_secret("FSM_REDIS_PASSWORD_FILE", files["password_file"]),
        sentinel_password=_secret("FSM_SENTINEL_PASSWORD_FILE", files["sentinel_password_file"]),
    )
    if is_encrypted(url):
        _check_certificates(access)
    return access


def _check_together(files: Mapping[str, str], url: str) -> None:
    seen = f"FSM_REDIS_URL is {redacted(url)!r}" if url else "FSM_REDIS_URL is not set"
    for attribute in ("ca", "cert", "key"):
        if files[attribute] and not is_encrypted(url):
            raise UsageError(
                f"{_VARIABLES[attribute]} is set and {seen}: expected rediss://… or sentinels://…, as nothing is "
                "encrypted without"
            )
    if bool(files["cert"]) is not bool(files["key"]):
        missing = _VARIABLES["key" if files["cert"] else "cert"]
        raise UsageError(f"{missing} is missing: expected FSM_REDIS_CERT and FSM_REDIS_KEY together")
    if files["password_file"] and (not url or ":" in urlsplit(url).netloc.rpartition("@")[0]):
        raise UsageError(f"FSM_REDIS_PASSWORD_FILE is set and {seen}: expected an address without a password in it")
    if files["sentinel_password_file"] and sentinels_of(url) is None:
        raise UsageError(f"FSM_SENTINEL_PASSWORD_FILE is set and {seen}: expected sentinel://… or sentinels://…")


def _secret(name: str, path: str) -> str:
    """Return what a password file holds, without its last line's end; "" when none is named."""
    if not path:
        return ""
    try:
        text = Path(path).read_text().rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} is {path!r}, which cannot be read: {_why(error)}; expected a password") from None
    if not text or "\n" in text:
        raise UsageError(f"{name} is {path!r}, which has {len(text.splitlines())} lines: expected a password in one")
    return text


def _check_certificates(access: Access) -> None:
    """Load what connections will load, so that a wrong file is told by its name."""
    context = ssl.create_default_context()
    expected = {"ca": "certificates (PEM) of who signs Redis'", "cert": "a certificate (PEM)", "key": "its key (PEM)"}
    for attribute, what in expected.items():
        path = getattr(access, attribute)
        try:
            if path:
                Path(path).read_bytes()
            if path and attribute == "ca":
                context.load_verify_locations(path)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"{_VARIABLES[attribute]} is {path!r}: {_why(error)}; expected {what}") from None
    try:
        if access.cert:
            context.load_cert_chain(access.cert, access.key, password="")  # nobody is asked for one
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"FSM_REDIS_CERT {access.cert!r} and FSM_REDIS_KEY {access.key!r} do not go together: {_why(error)}; "
            "expected a certificate and its key (PEM), the key without a password"
        ) from None


def _why(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return re.sub(r" \(_ssl\.c:\d+\)", "", str(text))
