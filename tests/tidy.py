#!/usr/bin/env python3
"""Checks what a machine can of how we write C: arrows between rooms, sizes, calls that are not
allowed where they stand, who may use threads, and that libraries and epoll stay in their rooms.

    tidy.py                 check the tree; exit 1 on a finding, warnings only print
    tidy.py --self-test     prove that each rule fires, and that clean code passes
    tidy.py --format TOOL   run clang-format (TOOL) over the same files, changing nothing
"""
import os
import re
import subprocess
import sys
from fnmatch import fnmatch

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIP = ("build*", ".*", "data", "node_modules", "__pycache__", "corpus")
# Self-contained tools that came with a style of their own.
FOREIGN = ("bench/mqload/*", "bench/relay.c")

LINE_MAX, FILE_MAX, FUNCTION_MAX, FUNCTION_WARN = 100, 900, 100, 70

# Which rooms a room may include: down, never up or sideways.
ARROWS = {
    "base": {"base"},
    "mqtt": {"base", "mqtt"},
    "filters": {"base", "filters"},
    "store": {"base", "store"},
    "net": {"base", "net"},
    "tls": {"base", "net", "tls"},
    "core": {"base", "mqtt", "filters", "store", "core"},
    "src": {"base", "mqtt", "filters", "store", "net", "tls", "core", "src", "shell"},
}
ROOMS = set(ARROWS) | {"shell", "tests", "bench", "fuzz"}
GUESTS = ("tests", "bench", "fuzz")
PURE = ("mqtt", "filters", "core")  # no clock, socket, file or chance: all of it is an argument

NEVER = "strcpy strcat sprintf vsprintf gets strtok alloca rand srand system"
ALLOCATE = "malloc calloc realloc free strdup strndup asprintf vasprintf"
OUTSIDE = ("time clock_gettime gettimeofday clock clock_mono_ms clock_wall_ms clock_ns random getrandom "
           "socket bind listen accept connect recv send recvmsg sendmsg read write readv writev open "
           "close fopen fread fwrite printf fprintf puts sleep usleep nanosleep getenv")
OUTSIDE_HEADERS = {"unistd.h", "fcntl.h", "time.h", "sys/socket.h", "sys/time.h", "sys/epoll.h",
                   "netinet/in.h", "poll.h", "signal.h", "base/clock.h"}
THREADS = re.compile(r"\b(_Atomic|_Thread_local|pthread_\w+|atomic_\w+|thrd_\w+|mtx_\w+|__atomic_\w+"
                     r"|__sync_\w+)\b|#\s*include\s*<(pthread|threads|stdatomic)\.h>")
THREAD_FILES = ("net/ring.*", "net/loop.*", "src/shard*.[ch]", "src/broker*.[ch]",
                "src/listener.[ch]", "src/admin_thread.c", "src/auth_pool.c", "src/peers.c", "src/sys.c", "src/log.[ch]",
                "src/main.c", "store/log/*.[ch]", "store/mem.c", "tls/ticket.c")
EPOLL_FILES = ("net/loop.c",)
OPENSSL_FILES = ("tls/*", "src/auth*", "tests/unit/test_tls*", "tests/unit/test_auth*", "fuzz/fuzz_auth.c")
LIBRARIES = {"http_parser.h": "net/http_head.c", "libwebsockets.h": "net/http.c"}  # each in one file
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')


def calls(names):
    # Not a member (x->read(), x.read()), not part of a longer name.
    return re.compile(r"(?<![\w.>])(" + "|".join(names.split()) + r")\s*\(")


NEVER_CALL, ALLOCATE_CALL, OUTSIDE_CALL = calls(NEVER), calls(ALLOCATE), calls(OUTSIDE)


def room_of(path):
    return "core" if path.startswith("src/core/") else path.split("/")[0]


def any_match(path, patterns):
    return any(fnmatch(path, p) for p in patterns)


def strip(text):
    """Blanks comments, strings and characters; lines stay where they are."""
    token = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    lines = []
    for raw, bare in zip(text.split("\n"), token.sub(blank, text).split("\n")):
        lines.append(raw if INCLUDE.match(raw) and bare.lstrip().startswith("#") else bare)
    return lines


def check_include(path, room, line):
    match = INCLUDE.match(line)
    if not match:
        return
    quoted, name = match.group(1) == '"', match.group(2)
    if quoted and room in ARROWS:
        target = name.split("/")[0] if "/" in name else room
        target = "core" if name.startswith("src/core/") else target
        if target not in ARROWS[room]:
            yield "arrow", f"{room}/ must not include {name}"
        if room == "tls" and target == "net" and name != "net/transport.h":
            yield "arrow", f"tls/ knows net/transport.h only, not {name}"
    if room in PURE and name in OUTSIDE_HEADERS:
        yield "pure", f"{name} in {room}/: time and input are arguments there"
    if name == "sys/epoll.h" and room in ARROWS and path not in EPOLL_FILES:
        yield "epoll", "<sys/epoll.h> belongs to net/loop.c"
    for library, home in LIBRARIES.items():
        if name.startswith(library) and room in ARROWS and path != home:
            yield "library", f"<{name}> belongs to {home}"
    if name.startswith("openssl/") and not any_match(path, OPENSSL_FILES):
        yield "openssl", "OpenSSL is seen in tls/ only"


def check_line(path, room, line):
    yield from check_include(path, room, line)
    match = NEVER_CALL.search(line)
    if match:
        yield "never", f"{match.group(1)}() is not used here"
    match = ALLOCATE_CALL.search(line)
    if match and room in ARROWS and not path.startswith("base/mem."):
        yield "allocate", f"{match.group(1)}(): allocate through base/mem.h"
    match = OUTSIDE_CALL.search(line)
    if match and room in PURE:
        yield "pure", f"{match.group(1)}() in {room}/: work goes out through the outbox"
    match = THREADS.search(line)
    if match and room in ARROWS and not any_match(path, THREAD_FILES):
        if not (path == "base/mem.c" and match.group(1) == "_Thread_local"):
            yield "threads", f"{match.group().strip()}: one shard, one thread; {path} is not listed"
    if re.search(r"\btypedef\s+(struct|union)\b", line):
        yield "typedef", "no typedef for structs"


def check(path, text):
    """Yields (line number, rule, message); rules that end in '?' only warn."""
    room = room_of(path)
    raw, bare = text.split("\n"), strip(text)
    if len(raw) - 1 > FILE_MAX:
        yield FILE_MAX, "file-size", f"{len(raw) - 1} lines, at most {FILE_MAX}"
    if not text.lstrip().startswith("/*"):
        yield 1, "opening", "a file opens with a paragraph: what it is for, what it owns, its thread"
    body_from = 0
    for number, (line, code) in enumerate(zip(raw, bare), 1):
        if len(line) > LINE_MAX:
            yield number, "line-length", f"{len(line)} columns, at most {LINE_MAX}"
        for rule, message in check_line(path, room, code):
            yield number, rule, message
        if code.rstrip() == "{":
            body_from = number
        elif body_from and code.startswith("}"):
            length = number - body_from + 1
            if length > FUNCTION_MAX:
                yield body_from, "function-size", f"{length} lines, at most {FUNCTION_MAX}"
            elif length > FUNCTION_WARN:
                yield body_from, "function-size?", f"{length} lines, aim for {FUNCTION_WARN}"
            body_from = 0
        elif body_from and re.match(r"\s*#\s*if", code):
            yield number, "ifdef", "#if picks files, not statements"


def sources():
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if not any_match(f, SKIP))
        for name in sorted(files):
            path = os.path.relpath(os.path.join(folder, name), ROOT)
            if path.endswith((".c", ".h")) and not any_match(path, FOREIGN):
                yield path


def check_tree():
    errors = count = 0
    for path in sources():
        count += 1
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            text = file.read()
        for line, rule, message in check(path, text):
            warning = rule.endswith("?")
            errors += not warning
            print(f"{path}:{line}: {'warning: ' if warning else ''}[{rule.rstrip('?')}] {message}")
    print(f"tidy: {count} files, {errors} findings")
    return 1 if errors or count == 0 else 0


def format_tree(tool):
    files = list(sources())
    return subprocess.run([tool, "--dry-run", "-Werror", *files], cwd=ROOT, check=False).returncode


CASES = [  # rule, file, the code that must set it off
    ("arrow", "base/x.c", '#include "mqtt/mqtt.h"'),
    ("arrow", "mqtt/x.c", '#include "store/store.h"'),
    ("arrow", "store/x.c", '#include "net/loop.h"'),
    ("arrow", "net/x.c", '#include "core/core.h"'),
    ("arrow", "net/x.c", '#include "src/conf.h"'),
    ("arrow", "src/core/x.c", '#include "net/loop.h"'),
    ("arrow", "src/core/x.c", '#include "src/conf.h"'),
    ("arrow", "src/core/x.c", '#include "tests/world.h"'),
    ("arrow", "tls/x.c", '#include "net/loop.h"'),
    ("arrow", "src/x.c", '#include "bench/x.h"'),
    ("file-size", "src/x.c", "\n" * FILE_MAX),
    ("function-size", "src/x.c", "int f(void)\n{\n" + "    f();\n" * FUNCTION_MAX + "}"),
    ("function-size?", "src/x.c", "int f(void)\n{\n" + "    f();\n" * FUNCTION_WARN + "}"),
    ("line-length", "src/x.c", "int " + "x" * LINE_MAX + ";"),
    ("allocate", "mqtt/x.c", "p = malloc(1);"),
    ("allocate", "src/x.c", "free(p);"),
    ("pure", "src/core/x.c", "now = time(NULL);"),
    ("pure", "src/core/x.c", "#include <time.h>"),
    ("pure", "src/core/x.c", '#include "base/clock.h"'),
    ("pure", "mqtt/x.c", "n = read(fd, p, 1);"),
    ("pure", "filters/x.c", "clock_gettime(CLOCK_REALTIME, &ts);"),
    ("pure", "src/core/x.c", "fd = socket(1, 2, 3);"),
    ("threads", "src/core/x.c", "_Atomic int x;"),
    ("threads", "src/conn.c", "#include <pthread.h>"),
    ("threads", "base/mem.c", "atomic_load(&x);"),
    ("threads", "store/x.c", "static _Thread_local int x;"),
    ("epoll", "net/tcp.c", "#include <sys/epoll.h>"),
    ("library", "src/conn_http.c", "#include <http_parser.h>"),
    ("openssl", "net/tcp.c", "#include <openssl/ssl.h>"),
    ("openssl", "src/conn.c", "#include <openssl/ssl.h>"),
    ("typedef", "tests/x.c", "typedef struct x x;"),
    ("ifdef", "src/x.c", "int f(void)\n{\n#ifdef X\n    return 1;\n#endif\n}"),
] + [("never", "tests/x.c", f"{name}(x);") for name in NEVER.split()]

CLEAN = [
    ("base/mem.c", "static _Thread_local long x;\nvoid f(void *p) { free(p); }"),
    ("net/ring.h", "#include <stdatomic.h>\n_Atomic int x;"),
    ("net/loop.c", "#include <sys/epoll.h>"),
    ("net/http_head.c", "#include <http_parser.h>"),
    ("tls/x.c", '#include "net/transport.h"\n#include <openssl/ssl.h>'),
    ("src/x.c", '#include "conf.h"\n#include "core/core.h"\n#include "tls/tls.h"'),
    ("src/core/x.c", '#include "core/core.h"\n#include "store/store.h"\n/* read(), malloc() */\n'
                     'int f(void)\n{\n    s->read(s);\n    mem_free(p);\n    log("free(x) time(0)");\n'
                     "    retain_free(&r);\n    next_time(1);\n}"),
    ("tests/unit/x.c", '#include "core/core.h"\n#include <pthread.h>\nvoid *p = malloc(1);'),
    ("mqtt/x.c", "int f(void)\n{\n" + "    f();\n" * (FUNCTION_WARN - 2) + "}"),
    ("mqtt/x.c", "char quote = '\"'; /* \" */\nchar *s = \"// time(0)\"; int y;"),
]


def self_test():
    opening = "/* Opening. */\n"
    failed = 0
    for rule, path, code in CASES:
        found = {r for _, r, _ in check(path, opening + code)}
        if found != {rule}:
            failed += 1
            print(f"{path}: {code[:60]!r}: wanted {rule}, found {found or 'nothing'}")
    for path, code in CLEAN:
        found = list(check(path, opening + code))
        if found:
            failed += 1
            print(f"{path}: {code[:60]!r}: clean code, found {found}")
    if {r for _, r, _ in check("src/x.c", "int x;")} != {"opening"}:
        failed += 1
        print("a file without an opening paragraph passes")
    untested = {"opening"} ^ RULES ^ {case[0] for case in CASES}
    if untested:
        failed += 1
        print(f"rules without a case: {untested}")
    print(f"tidy --self-test: {len(CASES) + len(CLEAN) + 1} cases, {failed} failed")
    return 1 if failed else 0


RULES = {"arrow", "file-size", "function-size", "function-size?", "line-length", "never", "allocate",
         "pure", "threads", "epoll", "library", "openssl", "typedef", "ifdef", "opening"}


def main(args):
    if args == ["--self-test"]:
        return self_test()
    if len(args) == 2 and args[0] == "--format":
        return format_tree(args[1])
    if args:
        print(__doc__)
        return 2
    return check_tree()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
