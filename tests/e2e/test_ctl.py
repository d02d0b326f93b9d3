"""sluicectl: its command line, `config check`, and `store check` on what the broker left behind."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from broker import DURABLE, Broker, main, sanitized_environment, sanitizer_reports
from clients import publish

SLUICECTL = os.environ.get("SLUICECTL", "")
LATER = ("bench",)
ANCHOR = "mosquitto.db"
MOSQUITTO = b"\x00\xb5\x00mosquitto db and more"


class CtlCase(unittest.TestCase):
    """Runs sluicectl in a folder of its own."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def ctl(self, *args, code=0):
        """Runs it and checks the exit code."""
        done = subprocess.run([SLUICECTL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=60, check=False, cwd=self.dir, env=sanitized_environment(self.dir))
        self.assertEqual(sanitizer_reports(self.dir, done.stderr), "")
        self.assertEqual(done.returncode, code, (args, done.stdout, done.stderr))
        return done

    def json(self, *args, code=0):
        """Runs it with --json; stdout is one value, stderr is empty."""
        done = self.ctl("--json", *args, code=code)
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.stdout.count("\n"), 1)
        return json.loads(done.stdout)

    def file(self, name, data):
        """Writes a file, and its folder."""
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(data if isinstance(data, bytes) else data.encode())
        return path


class Command(CtlCase):
    """What needs no store."""

    def test_help(self):
        """0, on stdout, all verbs and options."""
        for option in ("-h", "--help"):
            done = self.ctl(option)
            self.assertEqual(done.stderr, "")
            for word in ("store check DIR", "config check FILE", "clients kick ID", "--url URL", "--json", "--version", "--help"):
                self.assertIn(word, done.stdout)
        self.assertRegex(self.ctl("--version").stdout, r"\Asluicectl \d+\.\d+\.\d+\n\Z")

    def wrong(self, *args):
        """Exit code 2 and one line."""
        done = self.ctl(*args, code=2)
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, r"\Asluicectl: [^\n]*\n\Z")
        return done.stderr

    def test_wrong_use(self):
        """2, and what is wrong."""
        for args, word in (([], "--help"), (["frobnicate"], "'frobnicate'"), (["-x"], "'-x'"),
                           (["store"], "sluicectl store check DIR"),
                           (["store", "mend", "x"], "sluicectl store check DIR"),
                           (["store", "check"], "sluicectl store check DIR"),
                           (["store", "check", "a", "b"], "sluicectl store check DIR"),
                           (["store", "check", "a", "--fast"], "'--fast'"),
                           (["clients"], "sluicectl clients list"), (["clients", "show"], "sluicectl clients show ID"),
                           (["clients", "list", "x"], "sluicectl clients list"),
                           (["retained", "list", "a", "b"], "sluicectl retained list [FILTER]"),
                           (["retained", "delete"], "sluicectl retained delete FILTER"),
                           (["status", "--once"], "--once is not for 'sluicectl status'"),
                           (["clients", "list", "--dry-run"], "--dry-run is not for"),
                           (["retained", "list", "--client", "a"], "--client is not for"),
                           (["store", "check", "a", "--url", "b"], "--url or --socket is not for"),
                           (["--url"], "--url needs a value"), (["status", "--socket", ""], "--socket needs a value"),
                           (["--url", "a", "--socket", "b", "status"], "not both"),
                           (["--url", "ftp://a", "status"], "is no URL"), (["--url", "http:// a", "status"], "is no URL"),
                           (["--json", "top"], "needs --once"),
                           (["a"] * 100, "too many words")):
            with self.subTest(args=args):
                self.assertIn(word, self.wrong(*args))

    def test_what_comes_later(self):
        """2, and that it is a matter of time."""
        for verb in LATER:
            self.assertIn(f"'{verb}' is not supported yet", self.wrong(verb, "list"))

    def test_good_configuration(self):
        """0, with the warnings of the broker itself."""
        name = self.file("a.conf", "listener 1883 127.0.0.1\nallow_anonymous true\nautosave_interval 3\n")
        done = self.ctl("config", "check", name)
        self.assertEqual(done.stdout, "The configuration is good.\n")
        self.assertRegex(done.stderr, rf"\AWarning: {name}:3: 'autosave_interval' is ignored: [^\n]*\n\Z")
        result = self.json("config", "check", name)
        self.assertEqual((result["file"], result["ok"], result["error"]), (name, True, None))
        self.assertEqual(len(result["warnings"]), 1)
        self.assertTrue(result["warnings"][0].startswith(f"{name}:3: 'autosave_interval'"))

    def test_bad_configuration(self):
        """1, FILE:LINE and what would be right; a missing file too."""
        name = self.file("a \"b\".conf", "max_qos 9\n")
        done = self.ctl("config", "check", name, code=1)
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr, f"{name}:1: 'max_qos' cannot be '9': use a whole number, 0 to 2\n")
        result = self.json("config", "check", name, code=1)
        self.assertEqual(result, {"file": name, "warnings": [], "ok": False, "error": done.stderr[:-1]})
        result = self.json("config", "check", "missing.conf", code=1)
        self.assertEqual(result["error"], "missing.conf: cannot open: No such file or directory")

    def no_store(self, path, word):
        """1 and one line, and the same as JSON."""
        done = self.ctl("store", "check", path, code=1)
        self.assertRegex(done.stderr, r"\Asluicectl: [^\n]*\n\Z")
        self.assertIn(word, done.stderr)
        result = self.json("store", "check", path, code=1)
        self.assertFalse(result["ok"])
        self.assertEqual((result["path"], f"sluicectl: {result['problem']}\n"), (path, done.stderr))
        return result

    def test_no_store(self):
        """1, whatever else is there."""
        self.no_store("missing", "No such file or directory")
        os.mkdir(os.path.join(self.dir, "empty"))
        self.no_store("empty", "empty holds no store")
        self.no_store(self.file("m.db", MOSQUITTO), "is a database of mosquitto")
        self.no_store(self.file("f.db", "hello"), "is not the anchor of a store")
        self.no_store(self.file("e.db", ""), "is not the anchor of a store")
        self.no_store(self.file("l.db", "sluice anchor 2\n"), "was written by a later version")
        result = self.no_store(self.file("d.db", "sluice anchor 1\n"), "is damaged")
        self.assertEqual((result["folder"], result["id"]), (None, None))
        self.no_store("x" * 5000, "File name too long")

    def test_names_of_any_bytes(self):
        """JSON stays JSON."""
        name = os.fsencode(self.dir) + b"/\xff\x01\".conf"
        done = subprocess.run([SLUICECTL, "--json", "config", "check", name], stdout=subprocess.PIPE,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(json.loads(done.stdout)["file"], f"{self.dir}/\ufffd\x01\".conf")


class Store(CtlCase):
    """What a broker left behind, in a copy for each test."""

    @classmethod
    def setUpClass(cls):
        cls.left = tempfile.mkdtemp(prefix="sluice-e2e-")
        cls.addClassCleanup(shutil.rmtree, cls.left, True)
        with Broker(DURABLE, extra="store_segment_size 64k\n") as broker:
            for i in range(50):
                publish(broker.port, "-q", "1", "-r", "-t", f"retained/{i}", "-m", "x" * 200)
            cls.in_use = subprocess.run([SLUICECTL, "store", "check", broker.data], timeout=60, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
            broker.stop()
            shutil.copytree(broker.data, os.path.join(cls.left, "data"))

    def setUp(self):
        super().setUp()
        self.data = os.path.join(self.dir, "data")
        shutil.copytree(os.path.join(self.left, "data"), self.data)
        self.anchor = os.path.join(self.data, ANCHOR)
        self.folder = self.anchor + ".d"

    def content(self):
        """Everything in the data folder, and when it was changed."""
        found = {}
        for folder, _, names in os.walk(self.data):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    found[path] = (file.read(), os.stat(path).st_mtime_ns)
        return found

    def segments(self):
        """The files of the log that hold records: what was published is found in them."""
        found = []
        for name in sorted(os.listdir(self.folder)):
            path = os.path.join(self.folder, name)
            with open(path, "rb") as file:
                if b"retained/" in file.read():
                    found.append(path)
        self.assertTrue(found)
        return found

    def damaged(self, path, word):
        """1, by its location, its anchor and its folder; nothing is changed."""
        before = self.content()
        for name in path:
            done = self.ctl("store", "check", name, code=1)
            self.assertIn(word, done.stdout + done.stderr)
            result = self.json("store", "check", name, code=1)
            self.assertFalse(result["ok"])
        self.assertEqual(self.content(), before)
        return done

    def test_by_any_name(self):
        """The location, the anchor and the folder all name it; nothing is changed by looking."""
        before, results = self.content(), []
        for path in (self.data, self.data + "/", self.anchor, self.folder, self.folder + "/"):
            done = self.ctl("store", "check", path)
            self.assertTrue(done.stdout.endswith("\nAll is well.\n"), done.stdout)
            self.assertEqual(done.stderr, "")
            result = self.json("store", "check", path)
            self.assertEqual((result.pop("path"), result["ok"], result["problem"]), (path, True, None))
            self.assertEqual(result["lines"], done.stdout.splitlines()[:-1])
            self.assertRegex(result["id"], r"\A[0-9a-f]{16}\Z")
            results.append(re.sub("/+", "/", json.dumps(result)))
        self.assertEqual(set(results), {results[0]})
        self.assertEqual(self.content(), before)

    def test_in_use(self):
        """1 while the broker runs."""
        self.assertEqual((self.in_use.returncode, self.in_use.stdout), (1, ""))
        self.assertIn("is in use: stop the broker first", self.in_use.stderr)

    def test_an_anchor_of_another_name(self):
        """persistence_file may be anything; of two stores one must be named."""
        os.rename(self.anchor, os.path.join(self.data, "a b.db"))
        os.rename(self.folder, os.path.join(self.data, "a b.db.d"))
        result = self.json("store", "check", self.data)
        self.assertEqual(result["anchor"], os.path.join(self.data, "a b.db"))
        shutil.copytree(os.path.join(self.data, "a b.db.d"), self.folder)
        shutil.copy(os.path.join(self.data, "a b.db"), self.anchor)
        done = self.ctl("store", "check", self.data, code=1)
        self.assertIn("holds 2 stores", done.stderr)
        self.ctl("store", "check", self.anchor)

    def test_without_its_anchor(self):
        """The folder alone can be looked at, as what was set aside."""
        os.unlink(self.anchor)
        self.assertIn("anchor: none beside it", self.ctl("store", "check", self.folder).stdout)
        aside = self.folder + ".old-20250102T030405Z"
        os.rename(self.folder, aside)
        self.assertIsNone(self.json("store", "check", aside)["anchor"])

    def test_the_anchor_of_another_store(self):
        """1: the next start would begin empty."""
        with open(os.path.join(self.folder, "id"), "w", encoding="ascii") as file:
            file.write("0123456789abcdef\n")
        self.damaged((self.data, self.anchor, self.folder), "does not belong to its anchor")
        os.unlink(os.path.join(self.folder, "id"))
        self.damaged((self.data, self.anchor, self.folder), "does not belong to its anchor")

    def test_a_damaged_anchor(self):
        """1, and the log is described all the same."""
        with open(self.anchor, "r+b") as file:
            file.seek(20)
            file.write(b"?")
        done = self.damaged((self.data, self.anchor, self.folder), "mosquitto.db is damaged")
        self.assertIn(self.folder, done.stdout)

    def test_an_anchor_without_its_folder(self):
        """1."""
        shutil.rmtree(self.folder)
        self.damaged((self.anchor,), "mosquitto.db.d: No such file or directory")

    def test_a_damaged_record(self):
        """1, and where: a byte of a message that others follow has changed."""
        path = self.segments()[0]
        with open(path, "r+b") as file:
            offset = file.read().index(b"retained/0")
            file.seek(offset)
            file.write(b"RETAINED")
        done = self.damaged((self.data, self.anchor, self.folder), "is damaged")
        self.assertIn(os.path.basename(path), done.stdout)

    def test_a_damaged_header(self):
        """1, and no crash: nothing of the first page is left."""
        path = self.segments()[0]
        with open(path, "r+b") as file:
            file.write(b"\xa5" * 4096)
        self.ctl("store", "check", self.data, code=1)

    def check_ends_well(self):
        """0 or 1 and one value; a sanitizer's report is neither."""
        done = subprocess.run([SLUICECTL, "--json", "store", "check", self.data], timeout=60, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertIn(done.returncode, (0, 1))
        self.assertEqual(done.stderr, "")
        self.assertEqual(json.loads(done.stdout)["ok"], done.returncode == 0)

    def test_any_damage(self):
        """Bytes changed anywhere, and files cut: never a crash."""
        for path in self.segments():
            with open(path, "rb") as file:
                whole = file.read()
            used = len(whole.rstrip(b"\0"))
            for offset in range(0, used, max(1, used // 40)):
                with open(path, "wb") as file:
                    file.write(whole[:offset] + bytes([whole[offset] ^ 0x41]) + whole[offset + 1:])
                self.check_ends_well()
            for offset in range(0, used, max(1, used // 10)):
                with open(path, "wb") as file:
                    file.write(whole[:offset])
                self.check_ends_well()
            with open(path, "wb") as file:
                file.write(whole)
        self.ctl("store", "check", self.data)



class FilterVerbs(CtlCase):
    """`filter eval` and `filter check` (FILTERS section 3); the language itself is test_filters.c's."""

    def eval(self, expression, event=None, option="--event"):
        """The object that is printed."""
        args = ()
        if event is not None:
            with open(os.path.join(self.dir, "event.json"), "w", encoding="utf-8") as file:
                file.write(event if isinstance(event, str) else json.dumps(event))
            args = (option, "event.json")
        done = self.ctl("filter", "eval", *args, "--", expression)
        self.assertEqual((done.stdout.count("\n"), done.stderr), (1, ""))
        return json.loads(done.stdout)

    def test_values_errors_and_matches(self):
        """One JSON object for any expression, exit 0 also where it fails."""
        rows = (("1 + 1", 2, None, False), ("TRUE", True, None, True), ("'a'", "a", None, False),
                ("0.1", 0.1, None, False), ("1 / 0", 0, "math", False), ("NOT 1", True, "cast", False),
                ("missing", False, "missingAttribute", False), ("FOO()", False, "missingFunction", False),
                ("LEFT('a', -1)", "a", "functionEvaluation", False), ("1 +", False, "parse", False))
        for expression, result, error, match in rows:
            found = self.eval(expression)
            self.assertEqual((found["result"], found["error"], found["match"]), (result, error, match), expression)
            self.assertEqual("detail" in found, error is not None, expression)

    def test_decimals_are_short(self):
        """As many digits as it takes to read them back."""
        self.assertIn('"result":0.1,', self.ctl("filter", "eval", "--", "0.1").stdout)
        self.assertIn('"result":0.30000000000000004,', self.ctl("filter", "eval", "--", "0.1 + 0.2").stdout)

    def test_ambiguous_forms_are_evaluated_with_a_warning(self):
        """They are refused in a filter only."""
        found = self.eval("NOT a = 1", {"a": 0})
        self.assertIn("warnings", found)
        self.assertIn("column 1", found["warnings"][0])

    def test_events(self):
        """Attributes keep their types."""
        event = {"id": "7", "count": -3, "ready": True}
        for expression in ("id = '7'", "count = -3", "ready", "EXISTS id AND count < 0"):
            self.assertTrue(self.eval(expression, event)["match"], expression)

    def test_messages(self):
        """All that a message has."""
        message = {"topic": "site/7/temp", "qos": 1, "retain": True, "client_id": "c", "username": "u",
                   "content_type": "application/json", "response_topic": "r", "expiry": 60,
                   "user_properties": [["site", "paris"], ["site", "rome"]], "payload": '{"temp":31}'}
        for expression in ("mqtt.topic = 'site/7/temp'", "topic[-1] = 'temp'", "mqtt.qos = 1", "mqtt.retain",
                           "mqtt.client_id = 'c'", "mqtt.username = 'u'", "datacontenttype LIKE '%json'",
                           "mqtt.response_topic = 'r'", "mqtt.expiry = 60", "site = 'paris'",
                           "payload.temp > 30", "mqtt.size = 11"):
            self.assertTrue(self.eval(expression, message, "--message")["match"], expression)
        self.assertTrue(self.eval("mqtt.payload = 'hi'", {"payload_base64": "aGk="}, "--message")["match"])

    def test_wrong_use(self):
        """Exit 2, a word on stderr, nothing on stdout."""
        for event, option in (("{", "--event"), ("[]", "--event"), ({"a": 1.5}, "--event"), ({"a": 1 << 31}, "--event"),
                              ({"qos": 3}, "--message"), ({"payload_base64": "a"}, "--message"),
                              ({"user_properties": [["a"]]}, "--message")):
            with open(os.path.join(self.dir, "bad.json"), "w", encoding="utf-8") as file:
                file.write(event if isinstance(event, str) else json.dumps(event))
            done = self.ctl("filter", "eval", option, "bad.json", "--", "TRUE", code=2)
            self.assertEqual((done.stdout, done.stderr.count("\n")), ("", 1), event)
        for args in ((), ("eval",), ("eval", "--event", "nothing.json", "--", "TRUE"), ("eval", "a", "b"), ("what", "a")):
            self.assertEqual(self.ctl("filter", *args, code=2).stdout, "", args)

    def test_check(self):
        """Exit 0, or 1 with a caret under the column."""
        self.assertEqual(self.ctl("filter", "check", "a = 1").stderr, "")
        self.assertEqual(self.ctl("filter", "explain", "NOT EXISTS x").stdout.splitlines(),
                         ["form    NOT EXISTS x", "by      nothing: it is asked of every message",
                          "cost    1 question, 0 keys"])
        self.assertIn("column 8: parse", self.ctl("filter", "explain", "a LIKE b", code=1).stderr)
        lines = self.ctl("filter", "check", "a LIKE b", code=1).stderr.splitlines()
        self.assertEqual(lines, ["a LIKE b", "       ^", "column 8: parse: LIKE needs a string literal"])


if __name__ == "__main__":
    main()
