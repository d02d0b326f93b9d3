"""docs/tutorial/3-filters.md does what it says: filters from mosquitto_sub, and sluicectl."""
from broker import main
from pages import PageCase


class Tutorial(PageCase):
    """The commands of the page in order, and what they print."""

    def test_every_command(self):
        """A fenced block is what the commands before it have printed."""
        self.run_page("3-filters.md", 9)


if __name__ == "__main__":
    main()
