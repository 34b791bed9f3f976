"""Forget what was read of the code, as a new process would: a test edits files, and asks for keys again."""

from deepblur.platform.system import code


def forget() -> None:
    for known in (code._code_of, code.with_imports, code._parts_of, code.hash_of, code._content):
        known.cache_clear()
