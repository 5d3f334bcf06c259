"""The colours of verdicts and of the words of a comparison."""

STYLES = {
    "agree": "green",
    "fault": "bold red",
    "known deviation": "yellow",
    "untrusted": "yellow",
    "drift": "yellow",
    "fixed": "green",
    "equal": "green",
}
