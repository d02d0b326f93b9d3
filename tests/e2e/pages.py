"""Pages of docs/tutorial do what they say: the commands in order, and what they print."""
import os
import re
import subprocess

from broker import BrokerCase

TUTORIAL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/tutorial")


class PageCase(BrokerCase):
    """A page whose indented lines are commands; a fenced block behind some is what they have printed, but
    for one of ```conf, which is a configuration."""

    def run_page(self, name, count):
        """All of its commands, of which there are so many."""
        with open(os.path.join(TUTORIAL, name), encoding="utf-8") as file:
            page = re.sub(r"```conf\n.*?```", "", file.read(), flags=re.S)
        steps = re.findall(r"^ {4}(\S[^\n]*)$|```\n(.*?)```", page, re.M | re.S)
        printed, commands = "", 0
        for command, expected in steps:
            if command:
                printed += self.shell(command)
                commands += 1
            else:
                self.assertEqual(printed, expected)
                printed = ""
        self.assertEqual((printed, commands), ("", count))

    def shell(self, command):
        """What it prints, on both channels."""
        command = re.sub(r"^(mosquitto_\w+)", rf"\1 -p {self.broker.port}", command)
        command = re.sub(r"\b(sluicectl (?:pub|sub))\b", rf"\1 -p {self.broker.port}", command)
        url = f" --url http://127.0.0.1:{self.broker.ports[1]}" if len(self.broker.ports) > 1 else ""
        asks = not re.match(r"sluicectl (filter|passwd|pub|sub)\b", command)
        command = command.replace("sluicectl", os.environ["SLUICECTL"] + (url if asks else ""))
        done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=60, check=False)
        return done.stdout
