"""Which program was measured: its hash and the commit that it was built from, and whether that is what is checked out."""

import hashlib
import re
import subprocess
from pathlib import Path

from processes import ROOT

# What no program is made of. A run appends to the history, and the next one is not to be refused for that.
NOT_BUILT = [":(exclude)perf", ":(exclude)docs", ":(exclude)scripts", ":(exclude)tests", ":(exclude).ci", ":(exclude,glob)*.md"]
HISTORY = ":(exclude)perf/history.jsonl"


def git(*words):
    return subprocess.run(["git", "-C", ROOT, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def built(path):
    """The hash of a binary and the commit that it names; None where it names none."""
    said = subprocess.run([path, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    commit = re.search(r"\(commit ([0-9a-f]{7,40})\)", said)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    return {"name": Path(path).name, "sha256": digest, "commit": commit[1] if commit else None}


def facts(paths):
    """What is checked out, and what was run."""
    return {"commit": git("rev-parse", "--short=12", "HEAD").stdout.strip(),
            "dirty": bool(git("status", "--porcelain", "--", ".", HISTORY).stdout.strip()),
            "binaries": [built(path) for path in paths]}


def is_same_code(commit):
    """Whether programs built from this commit are those of what is checked out."""
    return git("diff", "--quiet", commit, "HEAD", "--", ".", *NOT_BUILT).returncode == 0


def refusal(facts, is_same=is_same_code):
    """Why numbers of these programs do not go into the history; None if they do."""
    if facts["dirty"]:
        return "the tree has changes that are not committed"
    for each in facts["binaries"]:
        if not each["commit"]:
            return f"{each['name']} does not say from which commit it was built"
        if not is_same(each["commit"]):
            return f"{each['name']} was built from {each['commit']}, whose code is not that of {facts['commit']}"
    return None


def words(facts):
    """The programs in a line of the results."""
    return ", ".join(f"{each['name']} {each['sha256']} of {each['commit'] or 'an unknown commit'}"
                     for each in facts["binaries"])
