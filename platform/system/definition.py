"""What a definition in a file rests on: of a study's file, in which much stands, the part that a network is made of.

A statement counts if it makes, changes or, as far as can be read, registers anything that counts, and what it names
then counts as well. In doubt more counts than must: a result is then made anew, and never shown for another's.
"""

import ast
import copy
from collections.abc import Iterator

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_NAMES = (*_DEFINITIONS, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Import, ast.Pass)
"""Statements that do nothing but give a name to something."""
_UNREADABLE = {"globals", "locals", "vars", "eval", "exec", "sys", "importlib", "__import__"}
"""Ways to a name that a reader of the text does not see."""


def definition(content: bytes, name: str) -> bytes:
    """The statements of a module that its function or class `name` rests on; all of it where nobody can tell.

    What the module runs only as a program, below `if __name__ == "__main__"`, does not count.
    """
    try:
        body = [part for s in ast.parse(content).body if not _is_main(s) for part in _one_by_one(s)]
    except (SyntaxError, ValueError):  # of another Python
        return content
    variables = {name for s in body if isinstance(s, (ast.Assign, ast.AnnAssign)) for name in _stored(s)}
    makes = [(statement, _made(statement, variables)) for statement in body]
    if not any(name in made for _, made in makes):
        return content
    wanted, taken = {name}, set[int]()
    while more := [i for i, (s, made) in enumerate(makes) if i not in taken and (_acts(s) or made & wanted)]:
        taken.update(more)
        wanted |= {node.id for i in more for node in ast.walk(body[i]) if isinstance(node, ast.Name)}
        changing = (s.name for s in map(body.__getitem__, more) if isinstance(s, _DEFINITIONS))
        wanted.update(changing)  # who calls what changes something that counts does so too
    if wanted & _UNREADABLE:
        return content
    return ast.unparse(ast.Module([body[i] for i in sorted(taken)], [])).encode()


def _one_by_one(statement: ast.stmt) -> Iterator[ast.stmt]:
    """A statement, or of an import of several names one for each."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield statement
        return
    for alias in statement.names:
        one = copy.copy(statement)
        one.names = [alias]
        yield one


def _is_main(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test) and not statement.orelse


def _acts(statement: ast.stmt) -> bool:
    """Whether it does something, or gives names to something that nobody sees in the text."""
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.ImportFrom):
        return any(alias.name == "*" for alias in statement.names)
    return not isinstance(statement, _NAMES)


def _made(statement: ast.stmt, variables: set[str]) -> set[str]:
    """Names that a statement makes or may change: those of what it defines and stores into, of its decorators, of what
    it calls, and of the module's variables whose methods a definition calls."""
    if not isinstance(statement, _DEFINITIONS):
        called = {_root(node.func) for node in ast.walk(statement) if isinstance(node, ast.Call)}
        return {*_stored(statement), *called}
    made, shared, local = set[str](), {statement.name, *map(_root, statement.decorator_list)}, set[str]()
    for node in ast.walk(statement):
        if isinstance(node, ast.Global):
            shared.update(node.names)
        elif isinstance(node, ast.arg):
            local.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            local.add(node.id)
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            made.add(_root(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            made.update({_root(node.func)} & variables)
    return (made - local) | shared


def _stored(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement binds, or into whose values it stores."""
    for node in ast.walk(statement):
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            yield _root(node)
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]


def _root(node: ast.expr) -> str:
    """The name that a.b[c].d begins with; "" where it begins otherwise."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
