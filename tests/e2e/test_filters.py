"""docs/tutorial/3-filters.md does what it says: filters from mosquitto_sub, and sluicectl."""
import os
import re
import subprocess

from broker import BrokerCase, main

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/tutorial/3-filters.md")


class Tutorial(BrokerCase):
    """The commands of the page in order, and what they print."""

    def test_every_command(self):
        """A fenced block is what the commands before it have printed."""
        with open(PAGE, encoding="utf-8") as file:
            page = file.read()
        steps = re.findall(r"^ {4}(\S[^\n]*)$|```\n(.*?)```", page, re.M | re.S)
        printed, commands = "", 0
        for command, expected in steps:
            if command:
                printed += self.shell(command)
                commands += 1
            else:
                self.assertEqual(printed, expected)
                printed = ""
        self.assertEqual((printed, commands), ("", 9))

    def shell(self, command):
        """What it prints, on both channels."""
        command = re.sub(r"^(mosquitto_\w+)", rf"\1 -p {self.broker.port}", command)
        command = command.replace("sluicectl", os.environ["SLUICECTL"])
        done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=60, check=False)
        return done.stdout


if __name__ == "__main__":
    main()
