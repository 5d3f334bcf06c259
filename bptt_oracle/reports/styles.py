"""The colours of verdicts and of the words of a comparison."""

STYLES = {
    "agree": "green",
    "fault": "bold red",
    "crash": "bold red",
    "out of resources": "yellow",
    "known deviation": "yellow",
    "known": "yellow",
    "untrusted": "yellow",
    "drift": "yellow",
    "fixed": "green",
    "equal": "green",
}
