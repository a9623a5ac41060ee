"""Postfix, Exim and OpenSMTPD from Debian, each in a small world of its own (chroot), none of them installed.

They take mail for every domain below .test, keep it in a maildir, and refuse any other domain. Their limits are their
own defaults, except those that a test names: `Limits`.
"""

import os
import re
import shutil
import smtplib
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from dev import debian, tied
from dev.servers import ServerFailed, free_port

START_SECONDS = 20.0
# Names that exist in the servers' worlds only. Postfix refuses numbers that two of them share.
ACCOUNTS = {
    "root": 0,
    "nobody": 65534,
    "box": 61001,
    "postfix": 61002,
    "postdrop": 61003,
    "Debian-exim": 61004,
    "opensmtpd": 61005,
    "opensmtpq": 61006,
}
POSTFIX_DAEMONS = ("smtpd", "cleanup", "qmgr", "virtual", "trivial-rewrite", "postlogd", "bounce", "anvil", "proxymap")
POSTFIX_QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop")
POSTFIX_FOLDERS = (*POSTFIX_QUEUES, "private", "public", "saved", "trace")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MAIL_CONFIG": "/etc/postfix", "LC_ALL": "C"}
LIBRARY = re.compile(r"(?:=> |^\s*)(/\S+) \(0x", re.MULTILINE)  # in what ldd says


class NoMailServer(RuntimeError):
    """Mail servers can't be had or run on this machine; the text says why."""


@dataclass(frozen=True)
class Limits:
    """What the server takes.

    size: bytes of one message.  errors: of a client before it hangs up (Postfix).
    messages: over one connection (Exim, OpenSMTPD), or in one minute (Postfix).
    """

    size: int = 200_000
    messages: int = 100_000
    errors: int = 1000


class MailServer(ABC):
    """One server on a free port of 127.0.0.1. It can be stopped and started again, on the same port."""

    package: ClassVar[str]
    program: ClassVar[str]
    arguments: ClassVar[tuple[str, ...]]
    helpers: ClassVar[tuple[str, ...]]  # other programs that it starts
    owner: ClassVar[str] = "box"  # of the mailbox
    queue_run: ClassVar[tuple[str, ...]] = ()  # brings what was accepted to the mailbox; by itself, if there is none
    offers: ClassVar[frozenset[str]]  # in its answer to EHLO; in lower case
    offers_not: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.port = free_port()
        self._root = Path(tempfile.mkdtemp(prefix="golub-mail-"))
        self._root.chmod(0o755)  # its daemons run under accounts of their own
        self._process: tied.Tied | None = None

    def __enter__(self) -> Self:
        """Build its world and start it.

        Raises:
            NoMailServer: this machine can't; nobody is to blame.
            ServerFailed: it was there, and did not start.
        """
        try:
            self._furnish()
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Its files of configuration, by their path."""

    @abstractmethod
    def folders(self) -> dict[str, str]:
        """The folders it needs, each with its owner; a folder stands after the one that it is in."""

    def start(self) -> None:
        """Start it, and wait up to 20 s until it greets. Raises ServerFailed, with the server's own words."""
        with (self._root / "output").open("ab") as output:
            self._process = tied.start(
                self._command(self.program, *self.arguments), folder=self._root, environment=ENVIRONMENT, output=output
            )
        give_up = time.monotonic() + START_SECONDS
        while not self._greets():
            if self._process.poll() is not None or time.monotonic() > give_up:
                self.stop()
                raise ServerFailed(f"{type(self).__name__} does not start:\n{self.words()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it and all its processes, and keep what it holds. Harmless when it has ended already."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def accepted(self, count: int = 0, is_whole: Callable[[bytes], bool] = bool, seconds: float = 40) -> list[bytes]:
        """The messages in its mailbox, with the lines that it put before them, and LF for each line's end.

        What it accepted comes to the mailbox a little later: it waits until there are `count`, for so many seconds.
        A server that is stopped while it brings a letter there leaves a part of it (OpenSMTPD), and does so again: the
        same letter, with the same number of its own queue. That counts once; a letter that was sent twice has two
        such numbers. What lies there in part, by `is_whole`, does not count.
        """
        self._hurry()
        give_up = time.monotonic() + seconds
        while len(letters := set(filter(is_whole, map(Path.read_bytes, self._box.iterdir())))) < count:
            assert time.monotonic() < give_up, f"{len(letters)} of {count} in the mailbox:\n{self.words()}"
            time.sleep(0.05)
        return list(letters)

    def empty(self) -> None:
        """Forget what was accepted."""
        self._hurry()
        for path in self._box.iterdir():
            path.unlink()

    def words(self) -> str:
        """The last lines of its logs."""
        logs = [self._root / "output", *sorted((self._root / "var" / "log").rglob("*"))]
        text = "".join(log.read_text(errors="replace") for log in logs if log.is_file())
        return "\n".join(text.splitlines()[-15:])

    @property
    def _box(self) -> Path:
        return self._root / "box" / "new"

    def _hurry(self) -> None:
        if self.queue_run:
            subprocess.run(self._command(*self.queue_run), env=ENVIRONMENT, check=True, timeout=60)

    def _greets(self) -> bool:
        try:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=5) as smtp:
                return smtp.noop()[0] == 250
        except (OSError, smtplib.SMTPException):
            return False

    def _command(self, *words: str) -> list[str]:
        return [shutil.which("chroot", path=ENVIRONMENT["PATH"]) or "chroot", str(self._root), *words]

    def _end(self) -> None:
        self.stop()
        shutil.rmtree(self._root, ignore_errors=True)

    def _furnish(self) -> None:
        if os.geteuid() != 0:
            raise NoMailServer("a real mail server runs in a chroot, which only root may make")
        try:
            debian.fetch(*PACKAGES)
            debian.unpack(self.package, self._root)
        except debian.NoPackage as error:
            raise NoMailServer(f"no real mail server can be had: {error}") from None
        for program in (self.program, *self.helpers):
            self._bring_libraries_of(program)
        self._write_files()
        self._make_folders()
        if subprocess.run(self._command("/bin/sh", "-c", ":"), env=ENVIRONMENT, check=False).returncode != 0:
            raise NoMailServer("a real mail server runs in a chroot, which is forbidden here even to root")

    def _bring_libraries_of(self, program: str) -> None:
        """Copy this machine's own libraries that the program needs, and the program itself if it is the machine's."""
        inside = self._root / program.lstrip("/")
        if not inside.exists():
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(program, inside)
        path = debian.library_path(self._root, "usr/lib/postfix")
        said = subprocess.run(
            ["ldd", inside], env=ENVIRONMENT | {"LD_LIBRARY_PATH": path}, capture_output=True, text=True, check=True
        ).stdout
        if "not found" in said:
            raise NoMailServer(f"this machine lacks libraries of {self.package}: delete {debian.cache()} to fetch anew")
        for library in (Path(found) for found in LIBRARY.findall(said)):
            target = self._root / str(library).lstrip("/")
            if not library.is_relative_to(self._root) and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, target)

    def _write_files(self) -> None:
        files = {
            "etc/passwd": "".join(f"{name}:x:{number}:{number}::/:/bin/sh\n" for name, number in ACCOUNTS.items()),
            "etc/group": "".join(f"{name}:x:{number}:\n" for name, number in ACCOUNTS.items()),
            "etc/hosts": "127.0.0.1 localhost\n",
            "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
            "etc/mailname": "mx.test\n",
            # Not a device: that would need more rights than chroot does.
            "dev/null": "",
        }
        for name, text in (files | self.settings()).items():
            path = self._root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self._root / "dev/null").chmod(0o666)

    def _make_folders(self) -> None:
        mailbox = dict.fromkeys(("box", "box/new", "box/cur", "box/tmp"), self.owner)
        for name, owner in ({"run": "root", "var/log": "root"} | mailbox | self.folders()).items():
            path = self._root / name
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, ACCOUNTS[owner], ACCOUNTS[owner])
        (self._root / "tmp").mkdir()
        (self._root / "tmp").chmod(0o1777)


class Postfix(MailServer):
    package = "postfix"
    program = "/usr/lib/postfix/sbin/master"
    arguments = ("-d",)
    helpers = ("/bin/sh", *(f"/usr/lib/postfix/sbin/{name}" for name in POSTFIX_DAEMONS))
    offers = frozenset({"pipelining", "8bitmime", "size", "smtputf8", "enhancedstatuscodes"})

    def settings(self) -> dict[str, str]:
        main = {
            "compatibility_level": "3.6",
            "myhostname": "mx.test",
            "mydestination": "",
            "mynetworks": "",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "maillog_file": "/var/log/postfix.log",
            "virtual_mailbox_domains": "regexp:/etc/postfix/domains",
            "virtual_mailbox_maps": "static:box/",
            "virtual_mailbox_base": "/",
            "virtual_uid_maps": f"static:{ACCOUNTS['box']}",
            "virtual_gid_maps": f"static:{ACCOUNTS['box']}",
            "alias_maps": "",
            "local_recipient_maps": "",
            "local_header_rewrite_clients": "",
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "smtpd_peername_lookup": "no",
            "smtpd_forbid_unauth_pipelining": "yes",
            "smtpd_forbid_bare_newline": "yes",
            "smtpd_hard_error_limit": str(self.limits.errors),
            "smtpd_error_sleep_time": "0",
            "message_size_limit": str(self.limits.size),
            "virtual_mailbox_limit": "0",
            "smtputf8_enable": "yes",
            "smtpd_tls_security_level": "none",
        }
        if self.limits.messages < Limits.messages:
            main["smtpd_client_message_rate_limit"] = str(self.limits.messages)
        master = [
            f"127.0.0.1:{self.port} inet n - n - - smtpd",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 300 1 qmgr",
            "rewrite unix - - n - - trivial-rewrite",
            "bounce unix - - n - 0 bounce",
            "defer unix - - n - 0 bounce",
            "trace unix - - n - 0 bounce",
            "proxymap unix - - n - - proxymap",
            "virtual unix - n n - - virtual",
            "anvil unix - - n - 1 anvil",
            "postlog unix-dgram n - n - 1 postlogd",
        ]
        return {
            "etc/postfix/main.cf": "".join(f"{name} = {value}\n" for name, value in main.items()),
            "etc/postfix/master.cf": "\n".join(master) + "\n",
            "etc/postfix/domains": "/\\.test$/ yes\n",
        }

    def folders(self) -> dict[str, str]:
        folders = {"var/lib/postfix": "postfix", "var/spool/postfix": "root", "var/spool/postfix/pid": "root"}
        return folders | {f"var/spool/postfix/{name}": "postfix" for name in POSTFIX_FOLDERS}


class Exim(MailServer):
    package = "exim4-daemon-light"
    program = "/usr/sbin/exim4"
    arguments = ("-bdf",)
    helpers = ("/bin/sh",)
    owner = "Debian-exim"
    # A delivery for each message at once would take longer, and the machine's whole time.
    queue_run = ("/usr/sbin/exim4", "-q")
    offers = frozenset({"pipelining", "8bitmime", "size", "smtputf8"})

    def settings(self) -> dict[str, str]:
        text = f"""
            primary_hostname = mx.test
            local_interfaces = <; [127.0.0.1]:{self.port}
            daemon_smtp_ports = {self.port}
            log_file_path = /var/log/exim4/%slog
            acl_smtp_rcpt = take
            host_lookup =
            rfc1413_hosts =
            tls_advertise_hosts =
            smtputf8_advertise_hosts = *
            message_size_limit = {self.limits.size}
            smtp_accept_max_per_connection = {self.limits.messages}
            queue_only = true
            smtp_max_synprot_errors = {self.limits.errors}
            smtp_max_unknown_commands = {self.limits.errors}
            deliver_drop_privilege = true
            keep_environment =
            never_users =

            begin acl
            take:
              accept domains = *.test
              deny message = relay not permitted

            begin routers
            box:
              driver = accept
              transport = box

            begin transports
            box:
              driver = appendfile
              directory = /box
              maildir_format = true
              user = Debian-exim
            """
        return {"etc/exim4/exim4.conf": "\n".join(line[12:] for line in text.splitlines()) + "\n"}

    def folders(self) -> dict[str, str]:
        return {"var/spool/exim4": "Debian-exim", "var/log/exim4": "Debian-exim"}


class OpenSMTPD(MailServer):
    package = "opensmtpd"
    program = "/usr/sbin/smtpd"
    arguments = ("-d", "-f", "/etc/smtpd.conf")
    helpers = ("/bin/sh", "/usr/libexec/opensmtpd/mail.maildir")
    offers = frozenset({"8bitmime", "size", "enhancedstatuscodes"})
    offers_not = frozenset({"pipelining", "smtputf8"})

    def settings(self) -> dict[str, str]:
        lines = [
            'table boxes { "@" = "box" }',
            f"smtp max-message-size {self.limits.size}",
            f"smtp limit max-mails {self.limits.messages}",
            f"listen on 127.0.0.1 port {self.port} hostname mx.test",
            'action "keep" maildir "/box" virtual <boxes>',
            'match from any for domain "*.test" action "keep"',
        ]
        return {"etc/smtpd.conf": "\n".join(lines) + "\n"}

    def folders(self) -> dict[str, str]:
        return {"var/spool": "root", "var/run": "root", "var/lib/opensmtpd/empty": "root"}


SERVERS: tuple[type[MailServer], ...] = (Postfix, Exim, OpenSMTPD)
PACKAGES = tuple(server.package for server in SERVERS)
