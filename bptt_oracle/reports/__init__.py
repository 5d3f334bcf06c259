"""Reports: tables, HTML, JUnit, replays, and stand-alone scripts."""
